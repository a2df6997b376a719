"""Whether a server that has just started reaches itself where a browser on its machine would look for it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from typing import Final

from heartlink.ports import LOCALHOST, WILDCARDS, holder_of

LIMIT_SECONDS: Final = 2.0
"""How long whoever answers may take; nobody waits for this check."""

ANSWER_BYTES: Final = 16 << 10


async def check_reach(claimed: Sequence[str], port: int, instance: str, tls: ssl.SSLContext | None = None) -> list[str]:
    """A line for each address on which not this server answers; ``instance`` is what its ``/healthz`` says.

    Looks at the addresses that were claimed and at both of localhost. That nothing answers is told only of a
    claimed one: the other side of localhost may well be nobody's. ``tls`` is how to speak to a server with TLS.
    """
    own = {address for address in (*claimed, *LOCALHOST) if _covers(claimed, address)} - WILDCARDS
    addresses = list(dict.fromkeys((*sorted(own), *LOCALHOST)))
    answers = await asyncio.gather(*(_ask(address, port, tls) for address in addresses))
    lines: list[str] = []
    for address, answer in zip(addresses, answers, strict=True):
        where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        # Silence on an address of our own is a busy moment: thousands may be coming back just now.
        if answer is not None and instance.encode() not in answer and (answer or address not in own):
            means = "localhost" if address in LOCALHOST else address
            lines.append(
                f"Another program answers on {where}: {holder_of(port, address)}. Whoever opens {means}:{port} may "
                "reach that one instead of HeartLink: stop it, or choose another port with --port."
            )
        elif answer is None and address in claimed:
            lines.append(
                f"HeartLink listens on {where} but does not reach itself there: a firewall may be in the way. "
                f"See: python -m heartlink.doctor {where}"
            )
    return lines


def _covers(claimed: Sequence[str], address: str) -> bool:
    return address in claimed or "::" in claimed or ("0.0.0.0" in claimed and ":" not in address)


async def _ask(address: str, port: int, tls: ssl.SSLContext | None) -> bytes | None:
    """What is answered to a question for ``/healthz``, empty for silence; None where nobody listens."""
    answer = b""
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            reader, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError):
        return None
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            if tls is not None:
                await writer.start_tls(tls)
            host = f"[{address}]" if ":" in address else address
            writer.write(f"GET /healthz HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
            while len(answer) < ANSWER_BYTES and (more := await reader.read(ANSWER_BYTES)):
                answer += more
    except (OSError, EOFError, TimeoutError):
        pass
    finally:
        with contextlib.suppress(OSError):
            writer.transport.abort()
    return answer
