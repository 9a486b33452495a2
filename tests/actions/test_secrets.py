"""Collections of secrets: made, changed as a whole or not at all, opened with their keys only."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import Model

from runs.actions.actors import Actor, product
from runs.actions.instances import InstanceValues, create_instance, update_instance
from runs.actions.runs import submit_run
from runs.actions.secrets import (
    CannotReveal,
    change_collection,
    create_collection,
    delete_collection,
    find_collection,
    masked_secrets,
    named_collection,
    reseal_secrets,
    reveal,
)
from runs.domain.errors import Conflict, FieldsInvalid, NotAllowed, NotFound, Taken
from runs.domain.secrets import MASK, SecretOperation, SecretValue
from runs.domain.status import Status
from runs.models import Application, AuditEvent, Run, Secret, SecretsCollection
from tests.factories import (
    make_account,
    make_application,
    make_executable,
    make_instance,
    make_run,
    make_secrets,
)

pytestmark = pytest.mark.django_db
ROOT = product()
OPERATOR = Actor(user=None, key=None, role="operator", name="op")
VALUE = "the-value-that-nobody-reads"


@pytest.fixture
def application() -> Application:
    return make_executable(make_application(application_id="routing")).application


def all_rows() -> str:
    """Every column of every table, as text."""
    models: list[type[Model]] = list(apps.get_app_config("runs").get_models())
    return json.dumps([list(model._default_manager.values()) for model in models], default=str)


def opened(collection: SecretsCollection) -> dict[str, str]:
    return {one.location: one.value for one in reveal(collection)}


# --- Make and find ------------------------------------------------------------------------------


def test_a_collection_is_made_and_found(application: Application) -> None:
    made = create_collection(
        application=application,
        collection_id="prod",
        description="For the night run",
        secrets=[SecretValue("env", "API_KEY", VALUE), SecretValue("file", "keys/a.pem", "pem")],
        actor=ROOT,
    )
    assert (made.name, made.description) == ("prod", "For the night run")
    assert find_collection(application, "prod") == named_collection(application, "prod") == made
    assert opened(made) == {"API_KEY": VALUE, "keys/a.pem": "pem"}
    shown = [(one.kind, one.location, one.value) for one in masked_secrets(made)]
    assert shown == [("env", "API_KEY", MASK), ("file", "keys/a.pem", MASK)]


def test_no_value_stands_in_any_table_or_in_the_audit_trail(application: Application) -> None:
    made = make_secrets(application, {"API_KEY": VALUE, "a/b.txt": VALUE}, collection_id="prod")
    change_collection(
        collection=made,
        operations=[SecretOperation("update", "env", "API_KEY", f"{VALUE}-2")],
        actor=ROOT,
    )
    with pytest.raises(FieldsInvalid) as refused:
        change_collection(
            collection=made,
            operations=[SecretOperation("create", "env", "PATH", VALUE)],
            actor=ROOT,
        )
    assert VALUE not in all_rows()
    assert VALUE not in str(refused.value)
    details = list(AuditEvent.objects.order_by("pk").values_list("verb", "target", "detail"))
    assert details == [
        ("created", "routing/prod", "added env API_KEY, file a/b.txt"),
        ("changed", "routing/prod", "replaced env API_KEY"),
    ]


def test_an_id_is_taken_once_and_unknown_ones_are_told(application: Application) -> None:
    make_secrets(application, collection_id="prod")
    with pytest.raises(Taken, match="already"):
        create_collection(application=application, collection_id="prod", actor=ROOT)
    with pytest.raises(FieldsInvalid, match="letters"):
        create_collection(application=application, collection_id="a b", actor=ROOT)
    with pytest.raises(NotFound, match="test"):
        find_collection(application, "test")
    with pytest.raises(FieldsInvalid, match="Known: `prod`"):
        named_collection(application, "test")
    assert SecretsCollection.objects.count() == 1


def test_who_may_not_manage_applications_changes_nothing(application: Application) -> None:
    made = make_secrets(application)
    for act in (
        lambda: create_collection(application=application, collection_id="x", actor=OPERATOR),
        lambda: change_collection(collection=made, name="x", actor=OPERATOR),
        lambda: delete_collection(collection=made, actor=OPERATOR),
    ):
        with pytest.raises(NotAllowed):
            act()


# --- Change -------------------------------------------------------------------------------------


def test_operations_are_done_all_or_none(application: Application) -> None:
    made = make_secrets(application, {"A": "one-value", "B": "two"})
    with pytest.raises(FieldsInvalid):
        change_collection(
            collection=made,
            name="changed",
            operations=[
                SecretOperation("update", "env", "A", "changed"),
                SecretOperation("delete", "env", "C"),
            ],
            actor=ROOT,
        )
    made.refresh_from_db()
    assert opened(made) == {"A": "one-value", "B": "two"}
    assert made.name != "changed"
    change_collection(
        collection=made,
        name="Night",
        description="All",
        operations=[
            SecretOperation("update", "env", "A", "changed"),
            SecretOperation("delete", "env", "B"),
            SecretOperation("create", "file", "c.txt", "three"),
        ],
        actor=ROOT,
    )
    assert opened(made) == {"A": "changed", "c.txt": "three"}
    assert (made.name, made.description) == ("Night", "All")


def test_a_mask_that_is_sent_back_changes_no_value(application: Application) -> None:
    made = make_secrets(application, {"A": VALUE})
    before = Secret.objects.get()
    change_collection(
        collection=made, operations=[SecretOperation("update", "env", "A", MASK)], actor=ROOT
    )
    assert opened(made) == {"A": VALUE}
    assert Secret.objects.get().updated_at == before.updated_at


def test_a_name_alone_leaves_the_secrets(application: Application) -> None:
    made = make_secrets(application, {"A": VALUE}, collection_id="prod", name="Prod")
    change_collection(collection=made, name="", actor=ROOT)
    assert (made.name, opened(made)) == ("prod", {"A": VALUE})


# --- Delete -------------------------------------------------------------------------------------


def test_what_instances_and_open_runs_use_is_not_deleted(application: Application) -> None:
    made = make_secrets(application, collection_id="prod")
    instance = make_instance(application, instance_id="night", secrets=made)
    with pytest.raises(Conflict, match="`night`"):
        delete_collection(collection=made, actor=ROOT)
    instance.delete()
    run = make_run(application, secrets=made)
    with pytest.raises(Conflict, match=run.run_id):
        delete_collection(collection=made, actor=ROOT)
    Run.objects.filter(pk=run.pk).delete()
    ended = make_run(application, status=Status.SUCCEEDED, secrets=made)
    delete_collection(collection=made, actor=ROOT)
    ended.refresh_from_db()
    assert ended.secrets is None
    assert not Secret.objects.exists()
    with pytest.raises(NotFound):
        change_collection(collection=made, name="x", actor=ROOT)


# --- Keys ---------------------------------------------------------------------------------------


def test_a_rotated_key_still_reads_and_writes_anew(application: Application, settings: Any) -> None:
    made = make_secrets(application, {"A": VALUE, "B": "another-value"})
    former, settings.SECRET_KEY = settings.SECRET_KEY, "n" * 40
    with pytest.raises(CannotReveal, match="RUNSITE_FORMER_SECRET_KEYS") as refused:
        reveal(made)
    assert VALUE not in str(refused.value)
    settings.RUNSITE_FORMER_SECRET_KEYS = (former,)
    assert opened(made) == {"A": VALUE, "B": "another-value"}
    change_collection(
        collection=made, operations=[SecretOperation("update", "env", "A", "new")], actor=ROOT
    )
    settings.RUNSITE_FORMER_SECRET_KEYS = ()
    assert opened(made) == {"A": "new", "B": "another-value"}, "all of it is sealed anew"


def test_all_is_sealed_anew_by_a_command(application: Application, settings: Any) -> None:
    made = make_secrets(application, {"A": VALUE})
    former, settings.SECRET_KEY = settings.SECRET_KEY, "n" * 40
    lost = make_secrets(application, {"B": "x"}, collection_id="lost")
    Secret.objects.filter(collection=lost).update(encrypted="nonsense")
    settings.RUNSITE_FORMER_SECRET_KEYS = (former,)
    out = io.StringIO()
    with pytest.raises(CommandError, match="routing/lost: env B"):
        call_command("reencryptsecrets", stdout=out)
    assert "1 secret was" in out.getvalue()
    settings.RUNSITE_FORMER_SECRET_KEYS = ()
    assert opened(made) == {"A": VALUE}
    assert reseal_secrets() == (0, ["routing/lost: env B"])


def test_a_key_of_its_own_takes_over_from_the_signing_one(
    application: Application, settings: Any
) -> None:
    made = make_secrets(application, {"A": VALUE})
    settings.RUNSITE_SECRETS_KEY = "s" * 40
    assert opened(made) == {"A": VALUE}
    reseal_secrets()
    settings.SECRET_KEY = "a worker's own signing key, 32 characters"
    assert opened(made) == {"A": VALUE}


def test_what_cannot_be_read_can_be_replaced(application: Application, settings: Any) -> None:
    made = make_secrets(application, {"A": VALUE, "B": VALUE})
    settings.SECRET_KEY = "n" * 40
    change_collection(
        collection=made,
        operations=[
            SecretOperation("update", "env", "A", "known again"),
            SecretOperation("delete", "env", "B"),
        ],
        actor=ROOT,
    )
    assert opened(made) == {"A": "known again"}


def test_a_key_of_this_process_alone_seals_nothing(application: Application, settings: Any) -> None:
    settings.RUNSITE_SECRET_KEY_IS_TEMPORARY = True
    with pytest.raises(Conflict, match="RUNSITE_SECRET_KEY"):
        create_collection(application=application, collection_id="prod", actor=ROOT)


# --- Runs and instances -------------------------------------------------------------------------


def submitted(application: Application, **words: Any) -> Run:
    return submit_run(account=application.account, application=application, actor=ROOT, **words)


def test_a_run_takes_its_own_secrets_else_those_of_its_instance(application: Application) -> None:
    own, usual = make_secrets(application, collection_id="own"), make_secrets(application)
    instance = make_instance(application, secrets=usual)
    assert submitted(application).secrets is None
    assert submitted(application, instance=instance).secrets == usual
    run = submitted(application, instance=instance, secrets=own)
    assert run.secrets == own
    assert run.events.get().text == "Secrets own"
    again = submitted(application, secrets=own, cloned_from=run)
    assert again.events.get().text == f"Run again from {run.run_id}, Secrets own"


def test_secrets_of_others_are_refused_and_the_known_ones_named(application: Application) -> None:
    make_secrets(application, collection_id="prod")
    foreign = make_secrets(make_application(make_account()), collection_id="foreign")
    with pytest.raises(FieldsInvalid, match="Known: `prod`") as refused:
        submitted(application, secrets=foreign)
    assert list(refused.value.errors) == ["secrets"]
    values = InstanceValues(secrets=foreign)
    with pytest.raises(FieldsInvalid, match="Known: `prod`"):
        create_instance(application=application, instance_id="i", values=values, actor=ROOT)
    assert not Run.objects.exists()


def test_secrets_that_are_gone_meanwhile_are_refused(application: Application) -> None:
    gone = make_secrets(application, collection_id="gone")
    SecretsCollection.objects.filter(pk=gone.pk).delete()
    with pytest.raises(FieldsInvalid, match="gone"):
        submitted(application, secrets=gone)


def test_an_instance_is_given_secrets_and_none_again(application: Application) -> None:
    made = make_secrets(application)
    instance = create_instance(
        application=application,
        instance_id="night",
        values=InstanceValues(secrets=made),
        actor=ROOT,
    )
    assert instance.secrets == made
    update_instance(
        instance=instance, values=InstanceValues(), seen_at=instance.updated_at, actor=ROOT
    )
    instance.refresh_from_db()
    assert instance.secrets is None


@pytest.mark.django_db(transaction=True)
def test_two_who_change_at_once_lose_nothing() -> None:
    from threading import Thread

    made = make_secrets(make_application(), {"A": "1"})

    def add(name: str) -> None:
        try:
            change_collection(
                collection=made,
                operations=[SecretOperation("create", "env", name, "x")],
                actor=ROOT,
            )
        finally:
            connection.close()

    threads = [Thread(target=add, args=(f"N{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(opened(made)) == 7
