"""Forms by which admins import the runs of the local tool."""

from __future__ import annotations

from django import forms

_HELP = "Empty: the one that each run names. One that is missing is made."


def _application() -> forms.CharField:
    return forms.CharField(
        label="Application id",
        max_length=128,
        required=False,
        help_text=_HELP,
        widget=forms.TextInput(attrs={"autocapitalize": "off", "spellcheck": "false"}),
    )


class ImportForm(forms.Form):
    """An archive with run folders. The file is read by the view."""

    upload = forms.FileField(
        label="Archive",
        required=False,
        help_text="A .zip, .tar or .tar.gz of the folder of an application, of its .nextmv/runs, or"
        " of the folder of one run.",
    )
    application_id = _application()


class ImportFolderForm(forms.Form):
    """A folder on the server that holds run folders."""

    folder = forms.CharField(label="Folder on the server", max_length=1000)
    folder_application = _application()
