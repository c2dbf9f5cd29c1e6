"""A second reader of icecore's vaults, written after FORMAT.md alone, so that the format can't drift in silence.

    read_vault.py VAULT (--password TEXT | --key-file FILE) points
    read_vault.py VAULT (--password TEXT | --key-file FILE) restore MACHINE POINT DISK OUTPUT

It checks all that FORMAT.md says can be checked, uses neither index nor notes, and is slow. Needs Python 3.9 and the
packages cryptography, zstandard and argon2-cffi (Debian: python3-cryptography, python3-zstandard, python3-argon2).
"""

import argparse
import datetime
import json
import pathlib
import struct
import sys

import zstandard
from argon2.low_level import Type, hash_secret_raw
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import blake3
import hpke

CHUNK, MAP_NODE, MANIFEST = 1, 2, 3
TRAILER, SEGMENT_HEADER, RECORD_HEADER = 96, 192, 96
PAYLOAD_DOMAIN, ID_DOMAIN, TABLE_DOMAIN = 0, 1, 2


def demand(condition, what):
    if not condition:
        raise SystemExit(f"read_vault: {what}")


def fields(layout, data, what):
    """The fields of a structure that begins with its magic and version."""
    magic, version, *rest = struct.unpack_from("<8sI" + layout, data)
    demand(magic == what and version == 1, f"{what} of version 1 expected, {magic} of version {version} found")
    return rest


def nonce(number, domain):
    return struct.pack("<III", number, 0, domain)


class Keys:
    """What a slot's payload holds, and what is derived from it."""

    def __init__(self, vault, payload):
        epoch, reserved, self.id_key, self.meta_key, self.public = struct.unpack_from("<II32s32s32s", payload)
        demand(epoch == 0 and reserved == 0, "keys of epoch 0 expected")
        self.vault = vault
        self.private = payload[104:136] if len(payload) == 136 else None
        if self.private:
            demand(hpke.public_half(self.private) == self.public, "the halves of the pair do not belong together")
        names = {CHUNK: "chunk id", MAP_NODE: "map node id", MANIFEST: "manifest id"}
        self.record_ids = {kind: self.from_id(name) for kind, name in names.items()}

    def from_id(self, what):
        return blake3.derive(f"icecore 1 {what}", self.id_key + self.vault)

    def from_meta(self, what, *ids):
        return blake3.derive(f"icecore 1 {what}", b"".join((self.meta_key, self.vault, *ids)))


def root_key(slot, salt, passes, memory_kib, lanes, kind, credential):
    if kind == 2:
        return blake3.derive("icecore 1 key file", salt + credential["key_file"]) if "key_file" in credential else None
    if "password" not in credential:
        return None
    return hash_secret_raw(credential["password"], salt, passes, memory_kib, lanes, 32, Type.ID, 0x13)


def open_slot(path, vault, credential):
    """The keys, where the slot is one for this credential; else nothing."""
    data = path.read_bytes()
    layout = fields("BBH16s8sQIIII32s32s", data, b"ICESLOT1")
    kind, role, length, of, slot, _, passes, memory_kib, lanes, reserved, salt, commitment = layout
    demand(length == {1: 120, 2: 152, 3: 152}.get(role) and len(data) == 128 + length + 32, f"{path.name}: length")
    demand(blake3.plain(data[:-32]) == data[-32:], f"{path.name}: damaged")
    demand(of == vault and slot.hex() == path.stem and reserved == 0, f"{path.name}: of another place")
    root = root_key(slot, salt, passes, memory_kib, lanes, kind, credential)
    if root is None or blake3.derive("icecore 1 key slot commitment", root + vault) != commitment:
        return None
    key = blake3.derive("icecore 1 key slot payload", root + vault)
    return Keys(vault, AESGCM(key).decrypt(bytes(12), data[128:128 + length], data[:128]))


class Segment:
    """A segment, its table read and everything without a key checked."""

    def __init__(self, path, keys):
        self.data, self.keys = path.read_bytes(), keys
        layout = fields("B3s16s16sI12s32s48s32s16s", self.data, b"ICESEGMT")
        self.kind, zero, vault, self.id, epoch, zeros, encapsulated, content, authenticator, checksum = layout
        demand(vault == keys.vault and self.id.hex() == path.stem, f"{path.name}: of another place")
        demand(not any(zero + zeros) and epoch == 0, f"{path.name}: reserved bytes")
        demand(blake3.plain(self.data[:176])[:16] == checksum, f"{path.name}: header damaged")
        header_key = keys.from_meta("segment header")
        demand(blake3.keyed(header_key, self.data[:144]) == authenticator, f"{path.name}: header forged")
        self.ids_key = AESGCM(keys.from_meta("segment ids and table", self.id))
        if self.kind == 2:
            demand(not any(encapsulated + content), f"{path.name}: a content key where none is")
            self.payload_key = AESGCM(keys.from_meta("meta payloads", self.id))
        elif keys.private:
            info = b"icecore 1 content key" + keys.vault + self.id
            self.payload_key = AESGCM(hpke.open_sealed(keys.private, encapsulated, info, self.id, content))
        else:
            self.payload_key = None
        self.records = self.table()

    def table(self):
        trailer = self.data[-TRAILER:]
        count, at, length, segment, checksum, own = fields("IQQ16s32s16s", trailer, b"ICETRAIL")
        demand(blake3.plain(trailer[:80])[:16] == own, "trailer damaged")
        demand(length == len(self.data) and segment == self.id, "trailer of another segment")
        sealed = self.data[at:-TRAILER]
        plain = self.ids_key.decrypt(nonce(0, TABLE_DOMAIN), sealed, trailer[:48])
        demand(len(plain) == 48 * count, "the table's length")
        records, headers = {}, b""
        for number in range(count):
            entry = struct.unpack_from("<32sIIIB3s", plain, 48 * number)
            record_id, offset, *_, kind, zero = entry
            demand(not any(zero), "reserved bytes of the table")
            headers += self.data[16 * offset:16 * offset + RECORD_HEADER]
            records[kind, record_id] = (number, entry)
        demand(blake3.plain(self.data[:SEGMENT_HEADER] + headers + sealed + trailer[:48]) == checksum, "segment damaged")
        return records

    def read(self, kind, record_id):
        number, (_, offset, stored, plain_length, _, _) = self.records[kind, record_id]
        at = 16 * offset
        header = self.data[at:at + RECORD_HEADER]
        layout = struct.unpack("<4sIBBHIII48s16s8s", header)
        magic, own_number, own_kind, encoding, zero, own_plain, own_stored, zeros, sealed_id, checksum, own = layout
        demand(blake3.plain(header[:88])[:8] == own, "record header damaged")
        found = (magic, own_number, own_kind, zero, own_plain, own_stored, zeros)
        demand(found == (b"ICER", number, kind, 0, plain_length, stored, 0), "a record that its table does not describe")
        bound = header[:24] + self.keys.vault + self.id
        demand(self.ids_key.decrypt(nonce(number, ID_DOMAIN), sealed_id, bound) == record_id, "another record's id")
        payload = self.data[at + RECORD_HEADER:at + RECORD_HEADER + stored]
        demand(blake3.plain(payload)[:16] == checksum, "payload damaged")
        plain = self.payload_key.decrypt(nonce(number, PAYLOAD_DOMAIN), payload, bound + record_id)
        if encoding == 1:
            plain = zstandard.ZstdDecompressor().decompress(plain, max_output_size=plain_length)
        demand(len(plain) == plain_length, "a record's length")
        demand(blake3.keyed(self.keys.record_ids[kind], plain) == record_id, "bytes that are not what their id says")
        return plain


class Vault:
    def __init__(self, path, credential):
        self.path = pathlib.Path(path)
        header = (self.path / "header").read_bytes()
        demand(header == (self.path / "header-copy").read_bytes(), "the copies of the header differ")
        layout = fields("I16sQBBbBI32s32s32s32s", header, b"ICEVAULT")
        length, self.id, _, _, compression, _, zero, _, public, zeros, authenticator, checksum = layout
        demand(length == len(header) == 176 and compression == 1 and zero == 0 and not any(zeros), "the header's fields")
        demand(blake3.plain(header[:144]) == checksum, "header damaged")
        slots = (open_slot(slot, self.id, credential) for slot in sorted((self.path / "keys").glob("*.slot")))
        self.keys = next((keys for keys in slots if keys), None)
        demand(self.keys, "no key slot opens")
        demand(self.keys.public == public, "the public half in the header is another")
        demand(blake3.keyed(self.keys.from_meta("vault header"), header[:112]) == authenticator, "header forged")
        paths = sorted((self.path / "segments").glob("*.seg"))
        self.segments = [Segment(path, self.keys) for path in paths]

    def record(self, kind, record_id):
        for segment in self.segments:
            if (kind, record_id) in segment.records:
                return segment.read(kind, record_id)
        raise SystemExit(f"read_vault: no segment has record {record_id.hex()}")

    def points(self):
        """Machine, time and manifest of each point, chain by chain."""
        for chain in sorted((self.path / "catalog").iterdir()):
            before = bytes(32)
            for sequence, path in enumerate(sorted(chain.iterdir())):
                data = path.read_bytes()
                length, vault, chain_id, number, zero, salt = fields("I16s16sQQ32s", data, b"ICECATLG")
                demand(blake3.plain(data[:-32]) == data[-32:], f"{path.name}: damaged")
                demand((vault, chain_id.hex(), number, zero) == (self.id, chain.name, sequence, 0), "another entry's place")
                demand(path.name == f"{sequence:016x}.entry" and len(data) == 96 + length + 32, "an entry's length")
                key = self.keys.from_meta("catalog entry", chain_id, struct.pack("<Q", number), salt)
                payload = AESGCM(key).decrypt(bytes(12), data[96:96 + length], data[:96])
                yield self.point(payload, before, chain_id)
                before = blake3.plain(data)

    def point(self, payload, before, chain_id):
        layout = struct.unpack_from("<32sBBHI16sqq16sQ32s", payload)
        predecessor, event, _, name_length, zero, point, time, _, segment_id, offset, manifest_id = layout
        demand(predecessor == before and event == 1 and zero == 0, "a chain that does not hold")
        machine = payload[128:].decode()
        demand(len(payload) == 128 + name_length, "the length of a machine's name")
        demand(blake3.keyed(self.keys.from_meta("chain name"), machine.encode())[:16] == chain_id, "another machine's chain")
        segment = next(segment for segment in self.segments if segment.id == segment_id)
        demand(segment.records[MANIFEST, manifest_id][1][1] * 16 == offset, "the manifest's place")
        manifest = json.loads(segment.read(MANIFEST, manifest_id))
        demand((manifest["format"], manifest["point"], manifest["machine"]) == (1, point.hex(), machine), "the manifest")
        moment = datetime.datetime.fromtimestamp(time, datetime.timezone.utc)
        return machine, moment.strftime("%Y-%m-%dT%H-%M-%SZ"), manifest

    def fill(self, node_id, level, first, disk, output):
        """Writes what lies below a node of the map, whose first chunk has the number `first`."""
        node = self.record(MAP_NODE, node_id)
        own_level, zeros, bitmap = fields("B3s16s", node, b"ICEDMAP1")
        present = [place for place in range(128) if bitmap[place // 8] >> place % 8 & 1]
        demand(own_level == level and not any(zeros) and len(node) == 32 + 32 * len(present), "a map node's fields")
        for number, place in enumerate(present):
            child = node[32 + 32 * number:64 + 32 * number]
            at = first + place * 128 ** level
            if level > 0:
                self.fill(child, level - 1, at, disk, output)
                continue
            plain = self.record(CHUNK, child)
            expected = min(disk["chunk_bytes"], disk["size_bytes"] - at * disk["chunk_bytes"])
            demand(len(plain) == expected, "a chunk's length")
            output.seek(at * disk["chunk_bytes"])
            output.write(plain)

    def restore(self, machine, time, name, path):
        found = [manifest for of, at, manifest in self.points() if (of, at) == (machine, time)]
        disk = next((disk for manifest in found for disk in manifest["disks"] if disk["name"] == name), None)
        demand(disk, "no such point or disk")
        demand(self.keys.private, "a backup key reads no data")
        with open(path, "wb") as output:
            output.truncate(disk["size_bytes"])
            if disk["map"]:
                self.fill(bytes.fromhex(disk["map"]), disk["map_level"], 0, disk, output)


def main():
    parser = argparse.ArgumentParser(description="Reads icecore's vaults as FORMAT.md describes them.")
    parser.add_argument("vault")
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--password")
    way.add_argument("--key-file", type=pathlib.Path)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("points")
    restore = verbs.add_parser("restore")
    for name in ("machine", "point", "disk", "output"):
        restore.add_argument(name)
    arguments = parser.parse_args()
    if arguments.key_file:
        credential = {"key_file": arguments.key_file.read_bytes()}
    else:
        credential = {"password": arguments.password.encode()}
    try:
        vault = Vault(arguments.vault, credential)
        if arguments.verb == "restore":
            vault.restore(arguments.machine, arguments.point, arguments.disk, arguments.output)
            return
        for machine, time, manifest in vault.points():
            print(f"{machine}/{time}", *(f"{disk['name']}:{disk['size_bytes']}" for disk in manifest["disks"]))
    except InvalidTag:
        sys.exit("read_vault: what is sealed does not open as FORMAT.md says")


if __name__ == "__main__":
    main()
