"""The licence of a student, as the metadata of a model card state it: by its SPDX identifier."""

import re

from skdcgn.base.errors import UserError, shown

UNKNOWN = "unknown"  # the Hub's own word
PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
SPDX_ON_THE_HUB = """
afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc0-1.0 cc-by-2.0
cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cdla-permissive-1.0 cdla-permissive-2.0
cdla-sharing-1.0 ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 gpl-2.0 gpl-3.0 isc lgpl-2.1 lgpl-3.0 lppl-1.3c
mit mpl-2.0 ms-pl ncsa ofl-1.1 osl-3.0 postgresql unlicense wtfpl zlib
"""
ON_THE_HUB = frozenset(SPDX_ON_THE_HUB.split())  # identifiers, in small letters, that the Hub knows


def is_spdx(licence: str) -> bool:
    """Say whether ``licence`` has the form of an SPDX identifier."""
    return PATTERN.fullmatch(licence) is not None


def check_licence(licence: str) -> str:
    """Return an SPDX identifier; raise UserError that says what one is for anything else."""
    if not is_spdx(licence):
        raise UserError(
            f"{shown(licence)} is no SPDX identifier of a licence: write one, as MIT, CC-BY-NC-4.0 or LicenseRef-NAME"
        )
    return licence


def licence_metadata(licence: str | None) -> dict[str, str]:
    """Return the lines of a model card's metadata on a licence; None: it is not known."""
    if licence is None:
        return {"license": UNKNOWN}
    name = licence.lower()
    if name in ON_THE_HUB:
        return {"license": name}
    link = {} if name.startswith("licenseref-") else {"license_link": f"https://spdx.org/licenses/{licence}.html"}
    return {"license": "other", "license_name": name.removeprefix("licenseref-").replace("+", "-or-later"), **link}
