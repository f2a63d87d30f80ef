"""The receiving side of a node: C-ECHO and C-STORE (PS3.4 B), for the AE titles that were named."""

from __future__ import annotations

import io
import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from BrainIACLib.dicom_network.inbox import Inbox
from BrainIACLib.errors import BrainIACError
from BrainIACLib.scans.dicom_values import quiet_pydicom

if TYPE_CHECKING:
    from pynetdicom.transport import ThreadedAssociationServer

VERIFICATION = "1.2.840.10008.1.1"  # the SOP class of C-ECHO
SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
log = logging.getLogger("brainiac.node")


def start_receiver(
    inbox: Inbox,
    ae_title: str,
    host: str,
    port: int,
    allowed: Sequence[str],
    context: ssl.SSLContext | None,
    received: Callable[[str], None],
) -> ThreadedAssociationServer:
    """A server in threads of its own; ``received`` is told the pseudonym of the study of each image.

    Parameters
    ----------
    allowed : AE titles that may send; any if empty.

    Raises
    ------
    BrainIACError : the port is taken or may not be used.
    """
    from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt

    ae = AE(ae_title=ae_title)
    ae.require_called_aet = True
    ae.require_calling_aet = list(allowed)
    for supported in AllStoragePresentationContexts:
        ae.add_supported_context(str(supported.abstract_syntax), ALL_TRANSFER_SYNTAXES)
    ae.add_supported_context(VERIFICATION)

    def store(event: Any) -> int:
        return _store(event, inbox, received)

    def refused(event: Any) -> None:
        log.warning("an association was refused: its AE title is not allowed, or it asked for another")

    try:
        server = ae.start_server(
            (host, port),
            block=False,
            evt_handlers=[(evt.EVT_C_STORE, store), (evt.EVT_REJECTED, refused)],
            ssl_context=context,
        )
    except OSError as error:
        raise BrainIACError(
            f"The port {port} of '{host}' cannot be used ({error.strerror}); choose another.", "--port N"
        ) from None
    assert server is not None  # as it does not block
    return server


def _store(event: Any, inbox: Inbox, received: Callable[[str], None]) -> int:
    import pydicom

    try:
        content = event.encoded_dataset(include_meta=True)
        with quiet_pydicom():
            header = pydicom.dcmread(
                io.BytesIO(content), stop_before_pixels=True, specific_tags=["StudyInstanceUID", "SOPInstanceUID"]
            )
        study, instance = str(header.get("StudyInstanceUID") or ""), str(header.get("SOPInstanceUID") or "")
    except Exception:  # whatever a stranger's dataset makes the parser stumble over
        log.warning("an object was refused: it cannot be read")
        return CANNOT_UNDERSTAND
    if not study or not instance:
        log.warning("an object was refused: it names no study")
        return CANNOT_UNDERSTAND
    try:
        received(inbox.receive(study, instance, content))
    except (BrainIACError, OSError):
        log.error("an object was refused: the inbox cannot be written")
        return OUT_OF_RESOURCES
    return SUCCESS


def server_context(certificate: Path, key: Path, authority: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or later; with ``authority`` a sender must show a certificate that it signed.

    Raises
    ------
    BrainIACError : a file is missing or is no certificate or key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
        if authority is not None:
            context.load_verify_locations(authority)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:
        raise BrainIACError(
            f"The TLS certificate or key cannot be used ({error.strerror or error}); check both files."
        ) from None
    return context
