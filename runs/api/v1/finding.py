"""Finds what a request names, in the account of the key.

`find_…` is for what a path names: 404 where it is not there. `named_…` is for what a body or a
query names: 400 then, as 404 says only that the thing in the path is not there.
"""

from __future__ import annotations

from runs.api.auth import ApiRequest
from runs.domain.errors import FieldsInvalid, NotFound
from runs.models import Application, Instance, ManagedInput, Run, Upload, Version


def find_application(request: ApiRequest, app_id: str) -> Application:
    """The application with this id; archived ones are there, too. One query."""
    found = request.account.applications.select_related("default_instance").filter(
        application_id=app_id
    )
    application = found.first()
    if application is None:
        raise NotFound(f"Application '{app_id[:128]}' does not exist in this account.")
    application.account = request.account
    return application


def find_version(application: Application, version_id: str) -> Version:
    """The version with this id, with its executable; one query."""
    found = application.versions.select_related("executable__uploaded_by")
    version = found.filter(version_id=version_id).first()
    if version is None:
        raise NotFound(_absent("Version", version_id, application))
    version.application = application
    return version


def find_instance(application: Application, instance_id: str) -> Instance:
    """The instance with this id that has a row, so never `latest`; one query."""
    found = application.instances.select_related("version", "secrets")
    instance = found.filter(instance_id=instance_id).first()
    if instance is None:
        raise NotFound(_absent("Instance", instance_id, application))
    instance.application = application
    return instance


def find_managed_input(application: Application, input_id: str) -> ManagedInput:
    """The managed input with this id, with its data; one query."""
    found = application.managed_inputs.select_related("input_data")
    managed = found.filter(input_id=input_id).first()
    if managed is None:
        raise NotFound(_absent("Managed input", input_id, application))
    managed.application = application
    return managed


def named_version(application: Application, version_id: str) -> Version:
    """The version that a body names."""
    version = application.versions.filter(version_id=version_id).first()
    if version is None:
        raise FieldsInvalid({"version_id": [_absent("Version", version_id, application)]})
    return version


def named_upload(request: ApiRequest, upload_id: str) -> Upload:
    """The upload of the account that a body names; whether it was filled shows when it is read."""
    upload = request.account.uploads.filter(upload_id=upload_id, purpose=Upload.DATA).first()
    if upload is None:
        raise FieldsInvalid(
            {
                "upload_id": [
                    f"Upload '{upload_id[:128]}' does not exist in this account: uploads are kept"
                    " for a day. Ask for a new address and send the bytes there."
                ]
            }
        )
    upload.account = request.account
    return upload


def named_run(request: ApiRequest, run_id: str) -> Run:
    """The run of the account that a body names, with its input."""
    run = request.account.runs.select_related("input_data").filter(run_id=run_id).first()
    if run is None:
        raise FieldsInvalid({"run_id": [f"Run '{run_id[:128]}' does not exist in this account."]})
    return run


def _absent(noun: str, id_: str, application: Application) -> str:
    return f"{noun} '{id_[:128]}' does not exist in application '{application.application_id}'."
