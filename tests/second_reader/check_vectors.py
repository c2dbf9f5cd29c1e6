"""Computes again, after FORMAT.md alone, all that follows from known secrets.

    check_vectors.py VECTORS

Each step of the vectors opens one object. What it derived, authenticated and opened is computed from what FORMAT.md says, and
for slots, segments and entries the associated data, too, from the object's own bytes. Needs what read_vault.py needs.
"""

import json
import pathlib
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import blake3
import hpke
from read_vault import demand, nonce, root_key

SECRETS = {"password": b"correct horse", "key_file": b"\x42" * 40, "recovery": b"\x43" * 32}


def check(event, what):
    """Computes one event again."""
    value = {name: bytes.fromhex(text) for name, text in event.items() if name != "derived"}
    if "derived" in event:
        demand(blake3.derive(event["derived"], value["material"]) == value["key"], f"{what}: {event['derived']}")
    elif "keyed" in event:
        demand(blake3.keyed(value["key"], value["keyed"]) == value["hash"], f"{what}: keyed hash")
    elif "opened" in event:
        plain = AESGCM(value["key"]).decrypt(value["nonce"], value["sealed"], value["bound"])
        demand(plain == value["opened"], f"{what}: opened")
    elif "signed" in event:
        Ed25519PublicKey.from_public_bytes(value["key"]).verify(value["signature"], value["signed"])
    elif "received" in event:
        plain = hpke.open_sealed(
            value["private"], value["encapsulated"], value["info"], value["bound"], value["sealed"])
        demand(plain == value["received"], f"{what}: received")
    else:
        block = Cipher(algorithms.AES(value["key"]), modes.ECB()).encryptor().update(value["id"][:16])
        demand(block == value["tag"], f"{what}: index tag")


def bound_of(computed, name):
    """The nonces and associated data of what a step opened, or received."""
    pick = lambda event: (bytes.fromhex(event.get("nonce", "")), bytes.fromhex(event["bound"]))
    return [pick(event) for event in computed if name in event]


def material_of(computed, context):
    found = [bytes.fromhex(event["material"]) for event in computed if event.get("derived") == f"icecore 1 {context}"]
    demand(found, f"nothing was derived with {context}")
    return found[0]


def check_segment(data, computed):
    vault, segment, epoch = data[16:32], data[32:48], data[48:52]
    demand(epoch == b"\x01\0\0\0", "a segment of epoch 1")
    demand(material_of(computed, "segment ids and table")[32:] == vault + segment, "key of ids and table")
    record = data[192:288]
    payload_bytes = int.from_bytes(record[16:20], "little")
    at = 288 + -(-payload_bytes // 16) * 16
    trailer = data[-96:-48]
    ids = [event for event in computed if event.get("bound") == (record[:24] + vault + segment).hex()]
    demand(len(ids) == 1 and ids[0]["sealed"] == record[24:72].hex(), "sealed id")
    id_ = bytes.fromhex(ids[0]["opened"])
    expected = [
        (nonce(0, 1), record[:24] + vault + segment),
        (nonce(0, 0), record[:24] + vault + segment + id_),
        (nonce(0, 2), trailer),
    ]
    demand(bound_of(computed, "opened") == expected, "what the segment's parts are bound to")
    sealed = [event["sealed"] for event in computed if "opened" in event]
    demand(sealed[1:] == [data[288:288 + payload_bytes].hex(), data[at:-96].hex()], "payload and table")
    if data[12] == 1:
        received = next(event for event in computed if "received" in event)
        demand(received["info"] == (b"icecore 1 content key" + vault + segment).hex(), "info of the content key")
        demand(received["bound"] == segment.hex(), "associated data of the content key")
    else:
        demand(material_of(computed, "meta payloads")[32:] == vault + segment, "key of meta payloads")


def check_slot(data, computed):
    kind, label, wrapped = data[12], data[14], int.from_bytes(data[168:172], "little")
    vault, slot, salt = data[16:32], data[32:40], data[64:96]
    costs = [int.from_bytes(data[at:at + 4], "little") for at in (48, 52, 56)]
    root = root_key(salt, *costs, kind, SECRETS)
    if kind == 4:
        key = bytes(byte ^ 0xFF for byte in data[192 + label:192 + label + wrapped])
        root = blake3.derive("icecore 1 external key", salt + key)
    for what in ("commitment", "pair", "update key"):
        demand(material_of(computed, f"key slot {what}") == root + vault + slot, f"slot's {what}")
    front = data[:192 + label + wrapped]
    received = next(event for event in computed if "received" in event)
    demand(received["info"] == (b"icecore 1 key slot" + vault + slot).hex(), "info of a slot")
    demand(received["bound"] == front.hex(), "associated data of a slot")
    demand(received["encapsulated"] == data[len(front):len(front) + 32].hex(), "encapsulated key of a slot")
    demand(bound_of(computed, "opened") == [(bytes(12), front)], "associated data of the escrow")


def check_sealed(data, computed, prefix):
    demand(bound_of(computed, "opened") == [(bytes(12), data[:prefix])], "associated data")


def main():
    vectors = json.loads(pathlib.Path(sys.argv[1]).read_text())
    objects = {name: bytes.fromhex(text) for name, text in vectors["objects"].items()}
    events = 0
    for step in vectors["steps"]:
        name, computed = step["step"], step["computed"]
        for event in computed:
            check(event, name)
        events += len(computed)
        if name.startswith("slot "):
            check_slot(objects[name], computed)
        elif name.endswith(" segment"):
            check_segment(objects[name], computed)
        elif name == "entry":
            check_sealed(objects[name], computed, 96)
        elif name in ("change", "event"):
            check_sealed(objects[name], computed, 96)
            opened, signed = (next(event for event in computed if what in event) for what in ("opened", "signed"))
            message = objects[name][:96].hex() + opened["opened"][:-128]
            demand((signed["signed"], signed["signature"]) == (message, opened["opened"][-128:]), "what is signed")
        elif name == "inventory":
            check_sealed(objects[name], computed, 80)
    contexts = {event["derived"] for step in vectors["steps"] for event in step["computed"] if "derived" in event}
    print(f"{len(objects)} objects, {events} vectors, {len(contexts)} contexts")


if __name__ == "__main__":
    main()
