"""Where a local deployment keeps its state, and the keys that its components share."""

import base64
import fcntl
import hashlib
import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True)
class Home:
    """A folder with airflow.cfg, dags/ and plugins/; its state lies in ``.airflow/``."""

    path: Path

    @property
    def state(self) -> Path:
        return self.path / ".airflow"

    @property
    def database(self) -> Path:
        return self.state / "airflow.db"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def lock(self) -> Path:
        """Locked by the supervisor for as long as it lives; holds its `Service` as JSON."""
        return self.state / "service.lock"

    def log(self, component: str) -> Path:
        return self.logs / f"{component}.log"

    def password(self) -> str:
        """The password of the user ``admin``."""
        return str(json.loads((self.state / "passwords.json").read_text())["admin"])

    def prepare(self) -> None:
        """Make the state folder and whatever key it lacks; existing ones stay as they are."""
        self.state.mkdir(mode=0o700, exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        _keep(self.state / "fernet.key", base64.urlsafe_b64encode(secrets.token_bytes(32)))
        _keep(self.state / "session.key", secrets.token_hex(24).encode())
        _keep(self.state / "passwords.json", json.dumps({"admin": _password()}).encode())
        _keep(
            self.state / "jwt.pem",
            Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )


def take(descriptor: int) -> bool:
    """Lock an open file; whoever only looks whether it is locked holds it for an instant."""
    for _ in range(20):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def _password() -> str:
    """Sixteen letters and digits, none of which are easily taken for another."""
    return "".join(secrets.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(16))


def _keep(path: Path, content: bytes) -> None:
    """Write a file of mode 600, whole or not at all, unless there is one already."""
    if path.exists():
        return
    temporary = path.with_name(f".{path.name}.{hashlib.sha256(content).hexdigest()[:8]}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass  # another process was quicker: its key counts
    finally:
        temporary.unlink()


if __name__ == "__main__":
    Home(Path.cwd()).prepare()
