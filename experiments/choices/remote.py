"""The choice `policy=remote`: a policy behind a server of openpi's protocol, which can be measured but not trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from uuid import uuid4

from envs.contract import EnvSpec
from envs.errors import UserError
from envs.types import Observation
from experiments.lab.artifacts import digest
from experiments.settings.config import require
from policy_extraction.remote.form import Form
from policy_extraction.remote.policy import Connection, RemotePolicy, Server, answered_actions
from policy_extraction.types import Policy, PolicySpec, Training

SESSION = uuid4().hex  # what answers at an address may be another policy next time: nothing of it is reused


@dataclass(frozen=True)
class RemoteChoice:
    """Where the policy answers, and what it is sent. A server of ours says itself under which names."""

    url: str = ""
    cameras: tuple[str, ...] = ()  # whose pictures are sent; empty: those the server asks for, else all
    names: Form = field(default_factory=Form)  # of the parts of a message
    image_size: int = (
        0  # pictures are brought to this many pixels, square; 0: sent as the environment shows them
    )
    timeout: float = 60.0  # seconds for an answer
    key_variable: str = ""  # the environment variable that holds the server's key
    max_megabytes: int = 64  # of an answer

    pretrained = True
    trainable = False
    normalises = True
    bounded = True

    def __post_init__(self) -> None:
        require(bool(self.url), "policy=remote needs a server's address: policy.url=ws://host:port")
        self._server(self.names)

    def shape(self, env: EnvSpec) -> PolicySpec:
        """See `PolicyChoice`: the server is asked once, with an observation in which nothing is seen.

        Raises:
            UserError: it cannot be reached, or does not answer with actions of this environment.
        """
        connection = Connection(self._server(self.names))
        try:
            return self._spec(self._told(connection), env)
        finally:
            connection.close()

    def make(self, env: EnvSpec, training: Training, seed: int) -> Policy:
        """See `PolicyChoice`."""
        connection = self._told(Connection(self._server(self.names)))
        return RemotePolicy(connection, self._spec(connection, env))

    def origin(self, env: EnvSpec) -> str:
        """See `PolicyChoice`; another one in every process, so that nothing measured before stands for it."""
        return digest(["remote", self.url, SESSION])

    def _server(self, names: Form) -> Server:
        return Server(self.url, names, self.image_size, self.timeout, self.key_variable, self.max_megabytes)

    def _told(self, connection: Connection) -> Connection:
        """The connection under the names that the server asks for, where it does and the user says nothing else."""
        asked = connection.metadata.get("names")
        if self.names == Form() and isinstance(asked, Mapping):
            connection.server = self._server(_form(asked, self.url))
        return connection

    def _spec(self, connection: Connection, env: EnvSpec) -> PolicySpec:
        asked = tuple(connection.server.names.cameras) if connection.server.names.cameras else ()
        cameras = self.cameras or asked or tuple(env.cameras)
        unknown = [name for name in cameras if name not in env.cameras]
        if unknown:
            raise UserError(
                f"the server at {self.url} is to be sent the camera {unknown[0]!r}, the environment shows "
                f"{', '.join(env.cameras) or 'none'}; name them: policy.cameras=[…] policy.names.cameras={{…}}"
            )
        blank = env.blank()
        images = {name: blank["images"][name][None] for name in cameras}
        observation = Observation(images, blank["proprio"][None], (env.instruction,))
        return PolicySpec(
            cameras=cameras,
            image_size=env.cameras[cameras[0]][0] if cameras else PolicySpec.image_size,
            proprio_dim=env.proprio_dim,
            action_dim=env.action_dim,
            action_horizon=answered_actions(connection, observation, env.action_dim),
        )


def _form(asked: Mapping[Any, Any], url: str) -> Form:
    """The names that a server's metadata ask for.

    Raises:
        UserError: they are no names.
    """
    known = {name: asked.get(name, default) for name, default in asdict(Form()).items()}
    cameras = known.pop("cameras")
    texts = [*known.values(), *(cameras if isinstance(cameras, dict) else [None])]
    texts += list(cameras.values()) if isinstance(cameras, dict) else []
    if not all(isinstance(text, str) and text for text in texts):
        raise UserError(f"the server at {url} asks for names that are none; give them: policy.names.state=…")
    return replace(Form(**known), cameras=dict(cameras))
