"""The versions of what is installed, from the distributions' metadata."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from dra_common.errors import SettingsError


def installed(distribution: str) -> str:
    """Return the version of an installed distribution. Raises SettingsError if it is not installed as a package."""
    try:
        return version(distribution)
    except PackageNotFoundError as error:
        msg = f"the package {distribution} is not installed, so its version is not known"
        raise SettingsError(
            msg, cure="install it with hatch or pip; a bare source folder has no version"
        ) from error
