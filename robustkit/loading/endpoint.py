"""A model behind an address: a black box that is asked over HTTP, and nothing else is contacted.

The protocol. Every batch is one request, `POST` to the address, with JSON as its body:

    {"instances": [[[[0.0, 0.5], [1.0, 0.25]]]]}

`instances` are pictures `[N][C][H][W]` in [0, 1]. With `#base64` behind the address, which is never
sent, they are `{"b64": "...", "shape": [N, C, H, W], "dtype": "float32"}` instead: little-endian
floats in that order. The answer is status 200 with one of

    {"logits": [[1.5, -0.5, 0.1]]}
    {"probabilities": [[0.8, 0.1, 0.1]]}

one row a picture, in the same order. What is not answered within `SECONDS`, or with 429, 502, 503
or 504, is asked again up to `TRIES` times, after `Retry-After` seconds where the answer says so.
Every other status ends the audit. Redirects are not followed and proxies not used. Where the
environment variable `ROBUSTKIT_TOKEN` is set, it is sent as `Authorization: Bearer`.
"""

import base64
import http.client
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

import torch
from torch import Tensor, nn

from robustkit.errors import RefusedError, ToolError, UserError

SECONDS = 60.0
"""How long one answer may take."""
TRIES = 4
AGAIN = (429, 502, 503, 504)
LONGEST_PAUSE = 60.0
MAX_ANSWER = 2**28
"""The most bytes of an answer that are read."""
TOKEN = "ROBUSTKIT_TOKEN"

NOTE = (
    "no gradient: only black-box attacks can be run, and the robust accuracy is an upper bound of "
    "what a white-box audit would find"
)


class BudgetSpent(ToolError):
    """The pictures that an endpoint may be asked about are used up."""


@dataclass(frozen=True)
class Service:
    """How an endpoint may be used: pictures in all, and requests a second; None is no limit."""

    queries: int | None = None
    rate: float | None = None


class Endpoint(nn.Module):
    """A network that is somewhere else: `forward` asks it, and there is no gradient.

    `asked` counts pictures sent, failed tries left out.
    """

    def __init__(
        self,
        address: str,
        service: Service | None = None,
        *,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises UserError for what is no address; nothing is sent yet."""
        super().__init__()
        self.address, self.service = _checked(address), service or Service()
        self.asked = 0
        self._pause, self._clock, self._next = pause, clock, 0.0
        self._line: http.client.HTTPConnection | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[B, K]` for pictures `[B, C, H, W]`.

        Raises BudgetSpent before more pictures are sent than may be, ToolError where there is no
        answer, RefusedError where the answer is not one of the protocol.
        """
        most = self.service.queries
        if most is not None and self.asked + len(x) > most:
            raise BudgetSpent(
                f"at most {most:,} pictures to ask about, as --query-budget says",
                f"{self.asked + len(x):,}",
                "raise --query-budget, and go on with --resume",
            )
        answer = self._ask(json.dumps({"instances": self._instances(x.detach().cpu().float())}))
        self.asked += len(x)
        return read_answer(answer, len(x)).to(x.device)

    def _instances(self, x: Tensor) -> Any:
        if self.address.fragment != "base64":
            return x.tolist()
        content = base64.b64encode(x.contiguous().numpy().astype("<f4").tobytes()).decode()
        return {"b64": content, "shape": list(x.shape), "dtype": "float32"}

    def _ask(self, body: str) -> bytes:
        """The body of the answer, asked for again where that may help."""
        for attempt in range(1, TRIES + 1):
            self._wait_for_turn()
            try:
                status, wait, content = self._request(body)
            except (OSError, http.client.HTTPException) as error:
                status, wait, content = 0, None, f"{type(error).__name__}: {error}".encode()
                self._hang_up()
            if status == 200:
                return content
            if attempt == TRIES or (status and status not in AGAIN):
                break
            self._pause(min(LONGEST_PAUSE, 2.0**attempt / 4 if wait is None else wait))
        said = " ".join(content[:200].decode(errors="replace").split())
        raise ToolError(
            f"an answer from {public(self.address)}",
            (f"status {status}: {said}" if status else said) + f" (after {attempt} tries)",
            "check that the service is up and speaks the protocol of robustkit.loading.endpoint",
        )

    def _request(self, body: str) -> tuple[int, float | None, bytes]:
        """Status, seconds to wait where the answer says so, and body."""
        if self._line is None:
            kind = (
                http.client.HTTPSConnection
                if self.address.scheme == "https"
                else http.client.HTTPConnection
            )
            self._line = kind(self.address.hostname or "", self.address.port, timeout=SECONDS)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if os.environ.get(TOKEN):
            headers["Authorization"] = f"Bearer {os.environ[TOKEN]}"
        path = self.address.path or "/"
        query = f"?{self.address.query}" if self.address.query else ""
        self._line.request("POST", path + query, body, headers)
        answer = self._line.getresponse()
        content = answer.read(MAX_ANSWER + 1)
        if len(content) > MAX_ANSWER:
            self._hang_up()
            raise _strange(f"more than {MAX_ANSWER:,} bytes")
        return answer.status, _seconds(answer.getheader("Retry-After")), content

    def _wait_for_turn(self) -> None:
        """Keep to the rate."""
        if self.service.rate:
            now = self._clock()
            if now < self._next:
                self._pause(self._next - now)
            self._next = max(now, self._next) + 1 / self.service.rate

    def __del__(self) -> None:
        """End the connection, which is kept open between requests."""
        if "_line" in self.__dict__:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = None


def read_answer(content: bytes, count: int) -> Tensor:
    """The logits `[count, K]` in an answer; probabilities become their logarithms.

    >>> read_answer(b'{"logits": [[1, 2]]}', 1)
    tensor([[1., 2.]])
    """
    try:
        answer = json.loads(content)
    except ValueError:
        raise _strange(repr(content[:80].decode(errors="replace"))) from None
    given = {"logits", "probabilities"} & set(answer if isinstance(answer, dict) else ())
    if len(given) != 1:
        raise _strange(f"the keys {sorted(answer)}" if isinstance(answer, dict) else "no object")
    name = given.pop()
    try:
        rows = torch.tensor(answer[name], dtype=torch.float64)
    except (TypeError, ValueError):
        raise _strange(f"{name} that are no matrix of numbers") from None
    if rows.dim() != 2 or len(rows) != count or rows.shape[1] < 2:
        raise _strange(f"{name} of shape {list(rows.shape)} for {count} pictures")
    if name == "probabilities":
        if not bool(((rows >= 0) & (rows <= 1)).all()):
            raise _strange("probabilities outside [0, 1]")
        rows = rows.clamp_min(1e-30).log()
    return rows.float()


def public(address: SplitResult) -> str:
    """The address as a report may show it: without a query, which can hold a key."""
    return f"{address.scheme}://{address.netloc}{address.path}"


def _checked(text: str) -> SplitResult:
    address = urlsplit(text)
    try:
        whole = bool(address.hostname) and (address.port or 1) > 0
    except ValueError:
        whole = False
    if not whole:
        raise UserError(
            "an address such as http://127.0.0.1:8000/predict", repr(text), "check host and port"
        )
    if address.username or address.password:
        raise UserError(
            "an address without a name and password",
            f"one with both for {address.hostname}",
            f"put a token into the environment variable {TOKEN}",
        )
    if address.fragment not in ("", "base64"):
        raise UserError("#base64 or nothing behind the address", repr(text), "leave it away")
    return address


def _seconds(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _strange(what: str) -> RefusedError:
    return RefusedError(
        'an answer such as {"logits": [[1.5, -0.5]]} or {"probabilities": [[0.9, 0.1]]}',
        what,
        "let the service answer as robustkit.loading.endpoint describes",
    )
