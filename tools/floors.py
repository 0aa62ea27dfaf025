"""Prints the oldest supported versions as pip constraints: `name==floor`.

The floors are the `>=` bounds of setup.cfg, so that the versions that are promised
and the versions that `make check` tests cannot drift apart.
"""

import configparser
import re
from pathlib import Path

SETUP_CFG = Path(__file__).resolve().parents[1] / "setup.cfg"
REQUIREMENT = re.compile(r"^([A-Za-z0-9_.-]+)>=([0-9.]+)[^;]*(;.*)?$")


def floors(setup_cfg: Path) -> list[str]:
    """Returns one `name==floor; marker` per requirement that names a floor."""
    parser = configparser.ConfigParser()
    parser.read(setup_cfg)
    groups = [parser["options"]["install_requires"]]
    groups += parser["options.extras_require"].values()
    lines = [line.strip() for group in groups for line in group.splitlines()]
    matches = [match for line in lines if (match := REQUIREMENT.match(line))]
    return sorted({f"{m[1]}=={m[2]}{m[3] or ''}" for m in matches})


if __name__ == "__main__":
    print("\n".join(floors(SETUP_CFG)))
