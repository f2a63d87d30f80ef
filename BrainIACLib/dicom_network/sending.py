"""Results to another system by C-STORE (PS3.4 B)."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from BrainIACLib.errors import BrainIACError

SECONDS = 60.0


@dataclass(frozen=True)
class Destination:
    """Where results go; ``context``: how to speak TLS with it, or None."""

    ae_title: str
    host: str
    port: int
    context: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"


def destination_of(text: str, authority: Path | None = None, tls: bool = False) -> Destination:
    """``AE@HOST:PORT`` as a destination.

    Raises
    ------
    BrainIACError : it is not of that form, or the authority's certificate cannot be read.
    """
    found = re.fullmatch(r"([^@]{1,16})@(\[[0-9A-Fa-f:]+\]|[^@:]+):(\d{1,5})", text)
    if found is None or not 0 < int(found[3]) < 65536:
        raise BrainIACError(f"'{text}' is no destination; give it like this: PACS@10.0.0.5:104.")
    context = None
    if tls:
        try:
            context = ssl.create_default_context(cafile=str(authority) if authority else None)
        except OSError as error:
            raise BrainIACError(
                f"The certificate '{authority}' cannot be used ({error.strerror or error}); check the file."
            ) from None
    return Destination(found[1], found[2].strip("[]"), int(found[3]), context)


def send(files: Sequence[Path], to: Destination, ae_title: str, acknowledged: Callable[[Path], None]) -> None:
    """Send ``files`` in one association; ``acknowledged`` is told each that the other side has.

    Raises
    ------
    BrainIACError : there is no connection, or an object was refused; those before it are there.
    """
    import pydicom
    from pynetdicom import AE, build_context

    objects = [(file, pydicom.dcmread(file)) for file in files]
    ae = AE(ae_title=ae_title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = SECONDS
    pairs = dict.fromkeys((one.SOPClassUID, one.file_meta.TransferSyntaxUID) for _, one in objects)
    ae.requested_contexts = [build_context(kind, syntax) for kind, syntax in pairs]
    tls = (to.context, to.host) if to.context is not None else None
    association = ae.associate(to.host, to.port, ae_title=to.ae_title, tls_args=tls)
    if not association.is_established:
        raise BrainIACError(f"{to} does not accept a connection; check that it runs and knows '{ae_title}'.")
    try:
        for file, dataset in objects:
            try:
                status = association.send_c_store(dataset)
            except ValueError:
                raise BrainIACError(
                    f"{to} does not take objects of the kind of {file.name}; allow this kind at the destination."
                ) from None
            if not status or status.Status not in (0x0000, 0xB000, 0xB006, 0xB007):
                code = f"status {status.Status:04X}" if status else "no answer"
                raise BrainIACError(f"{to} did not take {file.name} ({code}); see the log of the destination.")
            acknowledged(file)
    finally:
        association.release()
