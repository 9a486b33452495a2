"""People, accounts, memberships, keys, links and the audit trail."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from runs.actions.accounts import revoke_api_key
from runs.actions.actors import ROOT, person
from runs.admin.site import ReadOnlyTable, Table, site
from runs.models import Account, ApiKey, AuditEvent, Membership, SignInLink, User


@admin.register(User, site=site)
class UserTable(Table):
    """Switch people on and off. They get passwords and links elsewhere."""

    list_display = ("email", "name", "is_active", "is_staff", "is_superuser", "last_login")
    list_filter = ("is_active", "is_staff", "is_superuser")
    search_fields = ("email", "name")
    fields = (
        "email",
        "name",
        "is_active",
        "is_staff",
        "is_superuser",
        "created_at",
        "last_login",
    )

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Only root gives power; nobody takes it from themselves by mistake."""
        fixed = ("created_at", "last_login")
        if obj is not None and obj.pk == request.user.pk:
            return (*fixed, "is_active", "is_staff", "is_superuser")
        if not request.user.is_superuser:
            return (*fixed, "email", "is_active", "is_staff", "is_superuser")
        return fixed

    def save_model(self, request: HttpRequest, obj: User, form: object, change: bool) -> None:
        """Keep addresses in lower case; a new person has no password yet."""
        obj.email = obj.email.strip().lower()
        if change:
            obj.save(update_fields=["email", "name", "is_active", "is_staff", "is_superuser"])
        else:
            obj.set_unusable_password()
            obj.save()


@admin.register(Account, site=site)
class AccountTable(Table):
    """Make accounts and rename them; the slug stays."""

    list_display = ("slug", "name", "created_at")
    search_fields = ("slug", "name")
    fields = ("slug", "name", "created_at")

    def get_readonly_fields(
        self, request: HttpRequest, obj: Account | None = None
    ) -> tuple[str, ...]:
        """Addresses of clients hold the slug."""
        return ("created_at",) if obj is None else ("slug", "created_at")


@admin.register(Membership, site=site)
class MembershipTable(ReadOnlyTable):
    """Who belongs where. The members page changes roles: it keeps an admin in each account."""

    list_display = ("user", "account", "role", "created_at")
    list_filter = ("role",)
    list_select_related = ("user", "account")
    search_fields = ("user__email", "account__slug")
    raw_id_fields = ("user", "account")
    fields = ("account", "user", "role", "created_at")
    readonly_fields = ("created_at",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """So that root can give a new account its first admin."""
        return bool(request.user.is_superuser)


@admin.register(ApiKey, site=site)
class ApiKeyTable(ReadOnlyTable):
    """Keys can be revoked here, never read."""

    list_display = ("name", "hint", "role", "account", "created_by", "last_used_at", "revoked_at")
    list_filter = ("role",)
    list_select_related = ("account", "created_by")
    search_fields = ("name", "hint", "account__slug", "created_by__email")
    hidden = ("hashed",)
    actions = ("revoke",)

    @admin.action(description="Revoke the selected keys", permissions=["view"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """End the keys at once; each leaves a line in the audit trail of its account."""
        if not isinstance(request.user, User) or not request.user.is_superuser:
            self.message_user(request, "Only root revokes keys here.", messages.ERROR)
            return
        actor = person(request.user, role=ROOT)
        now = timezone.now()
        count = sum(
            revoke_api_key(key=key, actor=actor, now=now)
            for key in queryset.select_related("account", "created_by")
        )
        self.message_user(request, f"{count} keys have been revoked.", messages.SUCCESS)


@admin.register(SignInLink, site=site)
class SignInLinkTable(ReadOnlyTable):
    """One-time links: made, used, over."""

    list_display = ("user", "created_at", "expires_at", "used_at")
    list_select_related = ("user",)
    search_fields = ("user__email",)
    hidden = ("hashed",)


@admin.register(AuditEvent, site=site)
class AuditEventTable(ReadOnlyTable):
    """Who changed what."""

    list_display = ("at", "account", "actor", "verb", "noun", "target")
    list_select_related = ("account", "user")
    search_fields = ("actor", "verb", "noun", "target", "account__slug")
    sortable_by = ()
