# Runsite in one image: web, worker, scheduler or the whole console, by the command given.
FROM python:3.11-slim

RUN useradd --create-home --uid 10001 runsite \
    && mkdir /data && chown runsite:runsite /data && chmod 700 /data
WORKDIR /app

COPY requirements.txt ./
RUN pip install --no-cache-dir --no-deps -r requirements.txt

COPY manage.py CHANGELOG.md LICENSE NOTICE ./
COPY runsite ./runsite
COPY runs ./runs
COPY templates ./templates
COPY static ./static
COPY examples ./examples

ENV RUNSITE_DATA_DIR=/data RUNSITE_HOST=0.0.0.0 PYTHONUNBUFFERED=1
USER runsite
VOLUME /data
EXPOSE 8000
CMD ["python", "manage.py", "serve"]
