"""The site of the admin panel, and the two kinds of tables in it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth import logout as end_session
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.http import urlencode

COUNTED = 10_001
"""Rows that are counted at most: beyond, a list says that there are more."""


class ConsoleAdminSite(admin.AdminSite):
    """The panel of the staff; signing in and out are the console's own."""

    site_header = "Runsite"
    site_title = "Runsite"
    index_title = "All tables"
    site_url = "/"
    empty_value_display = "-"

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Send to the console's sign-in page; refuse who has signed in and is not staff."""
        following = request.GET.get("next") or reverse("admin:index")
        if self.has_permission(request):
            return HttpResponseRedirect(reverse("admin:index"))
        if request.user.is_authenticated:
            raise PermissionDenied(
                "The admin panel is for those who run this console. "
                "Ask one of them to make you staff."
            )
        return HttpResponseRedirect(f"{reverse('sign-in')}?{urlencode({'next': following})}")

    def logout(  # type: ignore[override] # Django's is a page, ours leads away
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """End the session, as the console's own button does; only for a form."""
        if request.method != "POST":
            return HttpResponseRedirect(reverse("admin:index"))
        end_session(request)
        return HttpResponseRedirect(reverse("sign-in"))

    def password_change(  # type: ignore[override] # Django's is a page, ours leads away
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The console's own page."""
        return HttpResponseRedirect(reverse("password"))


class BoundedPaginator(Paginator):  # type: ignore[type-arg] # of any model
    """Counts to a cap, so that a list of a million rows opens as fast as one of ten."""

    @cached_property
    def count(self) -> int:
        """The number of rows, at most `COUNTED`."""
        rows = self.object_list
        if isinstance(rows, QuerySet):
            return len(rows.order_by().values_list("pk", flat=True)[:COUNTED])
        return len(rows)


class Table(admin.ModelAdmin):  # type: ignore[type-arg] # not generic at run time
    """A table whose rows staff may change. No page of it makes a query per row."""

    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 0
    save_on_top = False
    view_on_site = False
    show_facets = admin.ShowFacets.NEVER
    large_values: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """The rows with what their texts need, without their large values."""
        rows = super().get_queryset(request)
        if isinstance(self.list_select_related, tuple) and self.list_select_related:
            rows = rows.select_related(*self.list_select_related)
        return rows.defer(*self.large_values) if self.large_values else rows

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Large values and secrets are on no page of the panel."""
        return [*(super().get_exclude(request, obj) or ()), *self.large_values, *self.hidden]

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """The newest rows first."""
        return ("-pk",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: deleting goes through the console, which cleans the store too."""
        return False


class ReadOnlyTable(Table):
    """A table that the product alone writes: staff look."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never: the product makes these rows."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: a change here would break rules that the product keeps."""
        return False


site = ConsoleAdminSite(name="admin")
