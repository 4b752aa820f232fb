"""Where a local deployment keeps its state, and the keys that its components share."""

import base64
import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tbseg_ops.storage.commit import commit_new

REWRITE_SECONDS = 5.0


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

    @property
    def ready(self) -> Path:
        """There once the deployment could take a run."""
        return self.state / "service.ready"

    def log(self, component: str) -> Path:
        return self.logs / f"{component}.log"

    def password(self) -> str:
        """The password of the user ``admin``.

        An API server that meets a user without a password empties the file and writes it anew,
        and holds no lock while it writes: what cannot be read is looked at again for a while.
        """
        end = time.monotonic() + REWRITE_SECONDS
        while True:
            try:
                return str(json.loads((self.state / "passwords.json").read_text())["admin"])
            except json.JSONDecodeError:
                if time.monotonic() > end:
                    raise
            time.sleep(0.05)

    def prepare(self) -> None:
        """Make the state folder and whatever key it lacks; existing ones stay as they are."""
        self.state.mkdir(mode=0o700, exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        keys = {
            "fernet.key": base64.urlsafe_b64encode(secrets.token_bytes(32)),
            "session.key": secrets.token_hex(24).encode(),
            "passwords.json": json.dumps({"admin": _password()}).encode(),
            "jwt.pem": Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        }
        others = os.umask(0o077)  # nobody else may read them
        try:
            for name, content in keys.items():
                if not (self.state / name).exists():
                    commit_new(self.state / name, content)
        finally:
            os.umask(others)


def _password() -> str:
    """Sixteen letters and digits, none of which are easily taken for another."""
    return "".join(secrets.choice("abcdefghjkmnpqrstuvwxyz23456789") for _ in range(16))


if __name__ == "__main__":
    Home(Path.cwd()).prepare()
