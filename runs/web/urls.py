"""The addresses of all pages, one section for each noun."""

from __future__ import annotations

from django.urls import path, re_path

from runs.web import (
    accounts,
    api_reference,
    applications,
    console_links,
    downloads,
    executables,
    fallback,
    health,
    home,
    instances,
    launch,
    ledger,
    live,
    logs,
    managed_inputs,
    metrics,
    outputs,
    queue,
    run_folders,
    run_list,
    runs,
    secrets,
    versions,
    visuals_pages,
    workers,
)

urlpatterns = [
    # runs
    path("runs/", run_list.runs, name="runs"),
    path("runs/parts/", run_list.runs_parts, name="runs-parts"),
    path("runs/cancel/", run_list.runs_cancel, name="runs-cancel"),
    path("runs/import/", run_folders.runs_import, name="runs-import"),
    *(
        path(f"runs/<str:run_id>/{rest}", view, name=name)
        for rest, view, name in (
            ("", runs.run, "run"),
            ("log/", logs.run_log, "run-log"),
            ("log/download/", downloads.run_log_download, "run-log-download"),
            ("input/", outputs.run_input, "run-input"),
            ("input/download/", downloads.run_input_download, "run-input-download"),
            ("input/files/<int:number>/", downloads.run_input_file, "run-input-file"),
            ("output/", outputs.run_output, "run-output"),
            ("output/download/", downloads.run_output_download, "run-output-download"),
            ("files/<str:role>/<int:number>/", downloads.run_file, "run-file"),
            ("visuals/", visuals_pages.run_visuals, "run-visuals"),
            ("visuals/<int:number>/", visuals_pages.run_visuals, "run-visual"),
            ("assets/<int:number>/", downloads.run_asset, "run-asset"),
            ("assets/<int:number>/figure/", visuals_pages.run_figure, "run-figure"),
            ("resources/", runs.run_resources, "run-resources"),
            ("history/", runs.run_history, "run-history"),
            ("live/", live.run_live, "run-live"),
            ("poll/", live.run_poll, "run-poll"),
            ("cancel/", runs.run_cancel, "run-cancel"),
            ("stop/", runs.run_stop, "run-stop"),
            ("delete/", runs.run_delete, "run-delete"),
            ("export/", run_folders.run_export, "run-export"),
        )
    ),
    # as the published client prints it: without a slash at the end
    path(
        "app/<str:application_id>/run/<str:run_id>",
        console_links.console_run,
        name="console-run",
    ),
    # applications
    path("applications/", applications.applications, name="applications"),
    path("applications/new/", applications.application_new, name="application-new"),
    *(
        path(f"applications/<str:application_id>/{rest}", view, name=name)
        for rest, view, name in (
            ("", applications.application, "application"),
            ("settings/", applications.application_settings, "application-settings"),
            ("pin/", applications.application_pin, "application-pin"),
            ("archive/", applications.application_archive, "application-archive"),
            ("delete/", applications.application_delete, "application-delete"),
            ("builds/", executables.application_builds, "application-builds"),
            ("upload/", executables.application_upload, "application-upload"),
            ("read-folder/", executables.application_read_folder, "application-read-folder"),
            (
                "environments/<str:key>/",
                executables.application_environment,
                "application-environment",
            ),
            (
                "environments/<str:key>/rebuild/",
                executables.application_rebuild,
                "application-rebuild",
            ),
            ("versions/", versions.application_versions, "application-versions"),
            (
                "versions/<str:version_id>/delete/",
                versions.application_version_delete,
                "application-version-delete",
            ),
            ("instances/", instances.application_instances, "application-instances"),
            (
                "instances/<str:instance_id>/",
                instances.application_instance,
                "application-instance",
            ),
            (
                "instances/<str:instance_id>/default/",
                instances.application_instance_default,
                "application-instance-default",
            ),
            (
                "instances/<str:instance_id>/lock/",
                instances.application_instance_lock,
                "application-instance-lock",
            ),
            (
                "instances/<str:instance_id>/delete/",
                instances.application_instance_delete,
                "application-instance-delete",
            ),
            ("inputs/", managed_inputs.application_inputs, "application-inputs"),
            (
                "inputs/<str:input_id>/delete/",
                managed_inputs.application_input_delete,
                "application-input-delete",
            ),
            ("secrets/", secrets.application_secrets, "application-secrets"),
            (
                "secrets/<str:collection_id>/",
                secrets.application_secrets_one,
                "application-secrets-one",
            ),
            (
                "secrets/<str:collection_id>/name/",
                secrets.application_secrets_name,
                "application-secrets-name",
            ),
            (
                "secrets/<str:collection_id>/remove/",
                secrets.application_secrets_remove,
                "application-secrets-remove",
            ),
            (
                "secrets/<str:collection_id>/delete/",
                secrets.application_secrets_delete,
                "application-secrets-delete",
            ),
        )
    ),
    # launch
    path("applications/<str:application_id>/launch/", launch.launch, name="launch"),
    path(
        "applications/<str:application_id>/launch/parts/<str:part>/",
        launch.launch_part,
        name="launch-part",
    ),
    # queue and workers
    path("queue/", queue.queue, name="queue"),
    path("queue/parts/", queue.queue_parts, name="queue-parts"),
    path("queue/starts/", queue.queue_starts, name="queue-starts"),
    path("queue/new/", queue.queue_new, name="queue-new"),
    path("queue/pause/", queue.queue_pause, name="queue-pause"),
    path("queue/resume/", queue.queue_resume, name="queue-resume"),
    path("queue/limit/", queue.queue_limit, name="queue-limit"),
    path("queue/priority/", queue.queue_priority, name="queue-priority"),
    path("queue/first/", queue.queue_first, name="queue-first"),
    path("queue/cancel/", queue.queue_cancel, name="queue-cancel"),
    path("workers/", workers.workers, name="workers"),
    path("workers/parts/", workers.workers_parts, name="workers-parts"),
    path("workers/drain/", workers.worker_drain, name="worker-drain"),
    path("workers/resume/", workers.worker_resume, name="worker-resume"),
    path("ledger/", ledger.ledger, name="ledger"),
    # home and health
    path("", home.home, name="home"),
    path("parts/home/", home.home_parts, name="home-parts"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("api-reference/", api_reference.api_reference, name="api-reference"),
    path("metrics", metrics.metrics, name="metrics"),
    # accounts
    path("sign-in/", accounts.sign_in, name="sign-in"),
    path("sign-in/link/<str:secret>/", accounts.sign_in_link, name="sign-in-link"),
    path("sign-out/", accounts.sign_out, name="sign-out"),
    path("account/", accounts.account_switch, name="account-switch"),
    path("settings/password/", accounts.password, name="password"),
    path("settings/keys/", accounts.keys, name="keys"),
    path("settings/keys/revoke/", accounts.key_revoke, name="key-revoke"),
    path("settings/members/", accounts.members, name="members"),
    path("settings/members/role/", accounts.member_role, name="member-role"),
    path("settings/members/remove/", accounts.member_remove, name="member-remove"),
    path("settings/members/link/", accounts.member_link, name="member-link"),
    # everything else: the last line
    re_path(r"^(?P<rest>.*)$", fallback.unknown_address, name="unknown-address"),
]
