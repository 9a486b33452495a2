"""Forms of people: sign in, password, keys, members."""

from __future__ import annotations

from typing import cast

from django import forms

from runs.domain.roles import roles_up_to

ROLE_WORDS = {
    "viewer": "reads",
    "operator": "launches runs",
    "developer": "applications too",
    "admin": "members too",
}
KEY_WORDS = {
    "viewer": "Reads applications, runs, logs and results.",
    "operator": "Also uploads inputs, submits runs, and cancels those that it submitted.",
    "developer": "Also pushes executables, manages versions, instances, inputs and secrets, cancels"
    " any run and deletes runs.",
    "admin": "The same by the API; no request there changes members or accounts.",
}
"""What a program with a key of each role may do."""


class SignInForm(forms.Form):
    """E-mail address and password."""

    # Not an EmailField: admin@localhost is an address here, and the action decides who exists.
    email = forms.CharField(
        label="E-mail address",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True}),
    )
    password = forms.CharField(
        max_length=1000,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )


class PasswordForm(forms.Form):
    """A new password, twice; the old one for those who have one."""

    old = forms.CharField(
        label="Present password",
        max_length=1000,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    new = forms.CharField(
        label="New password",
        max_length=1000,
        strip=False,
        help_text="At least 10 characters, not one of the common ones.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    again = forms.CharField(
        label="New password again",
        max_length=1000,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def clean(self) -> dict[str, object]:
        """Both must be the same."""
        fields = super().clean() or {}
        if "new" in fields and fields.get("new") != fields.get("again"):
            self.add_error("again", "This differs from the new password above.")
        return fields


class KeyForm(forms.Form):
    """A new key."""

    name = forms.CharField(
        label="Name", max_length=200, help_text="What will use it, as “planning server”."
    )
    role = forms.ChoiceField(label="Role")

    def __init__(self, *args: object, role: str, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type] # handed on as they come
        _offer_roles(self, role, "operator")


class MemberForm(forms.Form):
    """A new member."""

    email = forms.CharField(label="E-mail address", max_length=254)
    name = forms.CharField(label="Name", max_length=200, required=False)
    role = forms.ChoiceField(label="Role")

    def __init__(self, *args: object, role: str, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type] # handed on as they come
        _offer_roles(self, role, "operator")


def _offer_roles(form: forms.Form, role: str, initial: str) -> None:
    field = cast(forms.ChoiceField, form.fields["role"])
    field.choices = [(name, f"{name}: {ROLE_WORDS[name]}") for name in roles_up_to(role)]
    field.initial = initial
