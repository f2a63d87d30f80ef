"""``brainiac node``: a DICOM node that analyzes what it is sent."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import logging
import signal
import sys
from pathlib import Path
from typing import Any

from BrainIACLib.cli.answering import worker
from BrainIACLib.cli.scan_options import add_models_dir, add_preprocessing_options, from_zero, preprocessing_options
from BrainIACLib.errors import BrainIACError
from BrainIACLib.worker.requests import AnalyzeStudy


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command of this file."""
    node = commands.add_parser(
        "node",
        help="a DICOM node: a study that arrives is analyzed, its results go back",
        description="Receives studies (C-STORE), waits until each is complete, analyzes it, and sends the results as "
        "DICOM objects where --send-to says. Listens on this computer alone unless --host says otherwise, and then "
        "takes studies only from the AE titles named with --allow. Ends with Ctrl+C; started again, it goes on.",
    )
    node.set_defaults(run=_node)
    node.add_argument("--port", type=int, default=11112, help="port to listen on (default 11112)")
    node.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this computer alone)")
    node.add_argument("--ae-title", default="BRAINIAC", help="AE title of this node (default BRAINIAC)")
    node.add_argument("--allow", action="append", default=[], metavar="AE", help="AE title that may send; repeatable")
    node.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="the inbox: images and reports")
    node.add_argument(
        "--wait",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="a study is complete after this time without an image (default 30)",
    )
    node.add_argument(
        "--send-to", metavar="AE@HOST:PORT", help="send the results there (default: they stay in the inbox)"
    )
    node.add_argument(
        "--keep-days",
        type=_days,
        metavar="DAYS",
        help="remove a study, images and report, so many days after its last image, once it is answered and its "
        "results are sent; one that failed stays (default: everything is kept until you remove it)",
    )
    node.add_argument("--send-tls", action="store_true", help="use TLS when sending")
    node.add_argument(
        "--tls-certificate", type=Path, metavar="FILE", help="certificate of this node; it then receives over TLS only"
    )
    node.add_argument("--tls-key", type=Path, metavar="FILE", help="private key of the certificate")
    node.add_argument(
        "--tls-authority",
        type=Path,
        metavar="FILE",
        help="authority that must have signed the other side's certificate",
    )
    node.add_argument(
        "--samples", type=from_zero, default=10, help="noise samples of each map (default 10; 0: no maps)"
    )
    add_models_dir(node, must_exist=True)
    add_preprocessing_options(node)


def _node(options: argparse.Namespace) -> int:
    try:
        import pynetdicom  # noqa: F401
    except ImportError:
        raise BrainIACError(
            "A node needs the package pynetdicom, which is not installed; install it with 'pip install pynetdicom'."
        ) from None
    from BrainIACLib.dicom_network.inbox import Inbox
    from BrainIACLib.dicom_network.node import Node, NodeOptions
    from BrainIACLib.dicom_network.receiving import server_context, start_receiver
    from BrainIACLib.dicom_network.sending import destination_of
    from BrainIACLib.dicom_objects.files import check_highdicom
    from BrainIACLib.publishing import locked

    _check(options)
    destination = None
    if options.send_to:
        destination = destination_of(options.send_to, options.tls_authority, options.send_tls)
        check_highdicom()
    context = None
    if options.tls_certificate:
        context = server_context(options.tls_certificate, options.tls_key, options.tls_authority)
    _log_to_terminal()
    options.out.mkdir(parents=True, exist_ok=True)
    busy = f"Another node uses the inbox '{options.out}'; choose another folder, or end the other one."
    with locked(options.out / ".brainiac-node.lock", busy), contextlib.ExitStack() as stack:
        inbox = Inbox(options.out)
        client = stack.enter_context(worker(options))

        def analyze(images: Path, report: Path, label: str) -> str:
            request = AnalyzeStudy(
                paths=(images,),
                out=report,
                samples=options.samples,
                dicom=destination is not None,
                label=label,
                options=preprocessing_options(options),
                device=options.device,
            )
            return _in_a_line(client.call(request)["document"])

        node = Node(inbox, NodeOptions(options.ae_title, options.wait, destination, options.keep_days), analyze)
        server = start_receiver(
            inbox, options.ae_title, options.host, options.port, options.allow, context, lambda name: None
        )
        stack.callback(server.shutdown)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: node.stop())
        secure = "with TLS" if context else "without TLS"
        logging.getLogger("brainiac.node").info(
            "%s listens on %s:%d %s; results go to %s; studies are kept %s", options.ae_title, options.host,
            options.port, secure, destination or "the inbox alone",
            "until you remove them" if options.keep_days is None else f"for {options.keep_days:g} days",
        )  # fmt: skip
        node.run()
    return 0


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days < 36500:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of days")
    return days


def _check(options: argparse.Namespace) -> None:
    if not 0 < len(options.ae_title) <= 16:
        raise BrainIACError(f"'{options.ae_title}' is no AE title; give --ae-title 1 to 16 characters.")
    if bool(options.tls_certificate) != bool(options.tls_key):
        raise BrainIACError("TLS needs both --tls-certificate and --tls-key.")
    if not _is_loopback(options.host) and not options.allow:
        raise BrainIACError(
            f"On '{options.host}' other computers can send studies; name who may with --allow AE_TITLE."
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _log_to_terminal() -> None:
    """Lines of our own without any identity; pynetdicom's, which may hold some, stay off."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    log = logging.getLogger("brainiac.node")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)


def _in_a_line(document: dict[str, Any]) -> str:
    answers = "; ".join(f"{one['task']}: {one['headline']}" for one in document["answers"])
    aside = sum(bool(row["set_aside"]) for row in document["series"])
    return f"{len(document['series'])} series, {aside} set aside. {answers or 'No answer.'}"
