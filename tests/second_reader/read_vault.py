"""A second reader of icecore's vaults, written after FORMAT.md alone, so that the format can't drift in silence.

    read_vault.py VAULT (--password TEXT | --key-file FILE | --recovery HEX) points
    read_vault.py VAULT (--password TEXT | --key-file FILE | --recovery HEX) documents
    read_vault.py VAULT (--password TEXT | --key-file FILE | --recovery HEX) restore MACHINE POINT DISK OUTPUT

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
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import blake3
import hpke

CHUNK, MAP_NODE, MANIFEST = 1, 2, 3
TRAILER, SEGMENT_HEADER, RECORD_HEADER = 96, 192, 96
EPOCH_BYTES = {1: 128, 2: 160, 3: 192}
MADE, FORGOTTEN, BROUGHT_BACK, PROTECTED, RELEASED, PURGED = range(1, 7)
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

    def __init__(self, vault, slot, role, epoch, payload):
        own_epoch, reserved, self.id_key = struct.unpack_from("<II32s", payload)
        demand(own_epoch == epoch and reserved == 0, "keys of the slot's own epoch expected")
        self.vault, self.slot, self.inventory = vault, slot, None
        self.epochs = []
        for at in range(40, len(payload), EPOCH_BYTES[role]):
            meta, public, inventory, verifying = struct.unpack_from("<32s32s32s32s", payload, at)
            private = payload[at + 128:at + 160] if role > 1 else None
            if private:
                demand(hpke.public_half(private) == public, "the halves of a pair do not belong together")
            self.epochs.append((meta, public, inventory, private, verifying))
        demand(not any(self.epochs[0][2]), "an inventory of the first epoch")
        names = {CHUNK: "chunk id", MAP_NODE: "map node id", MANIFEST: "manifest id"}
        self.record_ids = {kind: self.from_id(name) for kind, name in names.items()}

    @property
    def epoch(self):
        return len(self.epochs) - 1

    def from_id(self, what):
        return blake3.derive(f"icecore 1 {what}", self.id_key + self.vault)

    def from_meta(self, epoch, what, *ids):
        return blake3.derive(f"icecore 1 {what}", b"".join((self.epochs[epoch][0], self.vault, *ids)))

    def chain_of(self, name):
        return blake3.keyed(self.from_id("chain name"), name.encode())[:16]

    def counts(self, epoch, is_listed):
        """Whether something of an epoch counts: it is of the newest, or was there when that began."""
        return epoch == self.epoch or (epoch < self.epoch and is_listed(self.inventory))


class Inventory:
    """What there was when the newest epoch began."""

    def __init__(self, path, keys):
        data = path.read_bytes()
        epoch, vault, salt, length, zero = fields("I16s32sQQ", data, b"ICEINVEN")
        demand(blake3.plain(data[:-32]) == data[-32:], f"{path.name}: damaged")
        demand((epoch, vault, zero, len(data)) == (keys.epoch, keys.vault, 0, 80 + length + 32), f"{path.name}: fields")
        demand(blake3.plain(data) == keys.epochs[epoch][2], f"{path.name}: not the slot's inventory")
        key = keys.from_meta(epoch, "inventory", struct.pack("<Q", epoch), salt)
        payload = AESGCM(key).decrypt(bytes(12), data[80:80 + length], data[:80])
        self.header, segments, chains = struct.unpack_from("<32sII", payload)
        at = 40 + 16 * segments
        self.segments = {payload[place:place + 16] for place in range(40, at, 16)}
        self.entries = set()
        for _ in range(chains):
            chain, entries = struct.unpack_from("<16sI", payload, at)
            at += 20
            for _ in range(entries):
                self.entries.add((chain, *struct.unpack_from("<Q32s", payload, at)))
                at += 40
        demand(at == len(payload), f"{path.name}: length")


def root_key(salt, passes, memory_kib, lanes, kind, credential):
    if kind == 1 and "password" in credential:
        return hash_secret_raw(credential["password"], salt, passes, memory_kib, lanes, 32, Type.ID, 0x13)
    if kind == 2 and "key_file" in credential:
        return blake3.derive("icecore 1 key file", salt + credential["key_file"])
    if kind == 3 and "recovery" in credential:
        return blake3.derive("icecore 1 recovery key", salt + credential["recovery"])
    return None


def open_slot(path, vault, credential):
    """The keys, where the slot is one for this credential; else nothing."""
    data = path.read_bytes()
    layout = fields("BBBB16s8sQIIII32s32s32sQII16s", data, b"ICESLOT1")
    kind, role, label, zero, of, slot, _, passes, memory_kib, lanes, epoch = layout[:11]
    salt, commitment, public, _, wrapped, length, zeros = layout[11:]
    demand(length == 16 + 40 + (epoch + 1) * EPOCH_BYTES.get(role, 0), f"{path.name}: length of the payload")
    front = 192 + label + wrapped
    demand(len(data) == front + 32 + length + 48 + 32 + 32, f"{path.name}: length")
    demand(blake3.plain(data[:-32]) == data[-32:], f"{path.name}: damaged")
    demand(of == vault and path.stem == f"{slot.hex()}-{epoch:08x}", f"{path.name}: of another place")
    demand(zero == 0 and not any(zeros) and (kind == 4 or wrapped == 0), f"{path.name}: reserved bytes")
    data[192:192 + label].decode()
    root = root_key(salt, passes, memory_kib, lanes, kind, credential)
    key = lambda what: blake3.derive(f"icecore 1 key slot {what}", root + vault + slot)
    if root is None or key("commitment") != commitment:
        return None
    demand(blake3.keyed(key("update key"), data[:-64]) == data[-64:-32], f"{path.name}: forged")
    private = key("pair")
    demand(hpke.public_half(private) == public, f"{path.name}: another pair")
    sealed = data[front + 32:front + 32 + length]
    info = b"icecore 1 key slot" + vault + slot
    payload = hpke.open_sealed(private, data[front:front + 32], info, data[:front], sealed)
    return Keys(vault, slot, role, epoch, payload)


class Segment:
    """A segment, its table read and everything without a key checked."""

    def __init__(self, path, keys):
        self.data, self.keys = path.read_bytes(), keys
        layout = fields("B3s16s16sI12s32s48s32s16s", self.data, b"ICESEGMT")
        self.kind, zero, vault, self.id, self.epoch, zeros, encapsulated, content, authenticator, checksum = layout
        demand(vault == keys.vault and self.id.hex() == path.stem, f"{path.name}: of another place")
        demand(not any(zero + zeros), f"{path.name}: reserved bytes")
        demand(self.epoch <= keys.epoch, f"{path.name}: under keys that came after those at hand")
        demand(blake3.plain(self.data[:176])[:16] == checksum, f"{path.name}: header damaged")
        header_key = keys.from_meta(self.epoch, "segment header")
        demand(blake3.keyed(header_key, self.data[:144]) == authenticator, f"{path.name}: header forged")
        self.ids_key = AESGCM(keys.from_meta(self.epoch, "segment ids and table", self.id))
        private = keys.epochs[self.epoch][3]
        if self.kind == 2:
            demand(not any(encapsulated + content), f"{path.name}: a content key where none is")
            self.payload_key = AESGCM(keys.from_meta(self.epoch, "meta payloads", self.id))
        elif private:
            info = b"icecore 1 content key" + keys.vault + self.id
            self.payload_key = AESGCM(hpke.open_sealed(private, encapsulated, info, self.id, content))
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
        length, self.id, _, _, compression, _, parity, _, public, zeros, authenticator, checksum = layout
        demand(length == len(header) == 176 and compression == 1 and not any(zeros), "the header's fields")
        # Parity objects repair segments; whoever reads whole ones needs none.
        demand(parity <= 20, "percent of parity")
        demand(blake3.plain(header[:144]) == checksum, "header damaged")
        slots = (open_slot(slot, self.id, credential) for slot in sorted((self.path / "keys").glob("*.slot"), reverse=True))
        opened = [keys for keys in slots if keys]
        demand(opened, "no key slot opens")
        self.keys = max(opened, key=lambda keys: keys.epoch)
        demand(self.keys.epochs[0][1] == public, "the public half in the header is another")
        demand(blake3.keyed(self.keys.from_id("vault header"), header[:112]) == authenticator, "header forged")
        begun = self.begun()
        del self.keys.epochs[begun + 1:]
        if begun > 0:
            name = f"{begun:08x}-{self.keys.epochs[begun][2][:8].hex()}.inventory"
            self.keys.inventory = Inventory(self.path / "epochs" / name, self.keys)
            demand(blake3.plain(header) == self.keys.inventory.header, "the header is not the one that there was")
        segments = [Segment(path, self.keys) for path in sorted((self.path / "segments").glob("*.seg"))]
        counts = lambda segment: self.keys.counts(segment.epoch, lambda inventory: segment.id in inventory.segments)
        self.segments = [segment for segment in segments if counts(segment)]

    def entries(self, chain):
        """Number, hash, epoch and opened payload of each entry of a chain."""
        for sequence, path in enumerate(sorted(chain.glob("*.entry"))):
            data = path.read_bytes()
            length, vault, chain_id, number, epoch, zero, salt = fields("I16s16sQII32s", data, b"ICECATLG")
            demand(blake3.plain(data[:-32]) == data[-32:], f"{path.name}: damaged")
            demand((vault, chain_id.hex(), number, zero) == (self.id, chain.name, sequence, 0), "another entry's place")
            demand(path.name == f"{sequence:016x}.entry" and len(data) == 96 + length + 32, "an entry's length")
            demand(epoch <= self.keys.epoch, "this key is from before a rotation")
            key = self.keys.from_meta(epoch, "catalog entry", chain_id, struct.pack("<Q", number), salt)
            payload = AESGCM(key).decrypt(bytes(12), data[96:96 + length], data[:96])
            # Administrators alone make entries of the vault's own chain; in others, all but those that made a point.
            if chain.name == self.keys.chain_of("").hex() or payload[32] != MADE:
                self.check_signature(epoch, data[:96] + payload[:-64], payload[-64:])
                payload = payload[:-64]
            yield sequence, blake3.plain(data), epoch, payload

    def check_signature(self, epoch, message, signature):
        """Fails where no administrator of that epoch signed a message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.keys.epochs[epoch][4]).verify(signature, message)
        except InvalidSignature:
            raise SystemExit("read_vault: an entry that no administrator signed")

    def begun(self):
        """The newest epoch that has begun, by the vault's own chain."""
        begun, before, self.quotas, self.documents, self.given_up = 0, bytes(32), {}, {}, set()
        chain = self.path / "catalog" / self.keys.chain_of("").hex()
        for _, own_hash, epoch, payload in self.entries(chain):
            predecessor, event, zero, _ = struct.unpack_from("<32sB7sq", payload)
            demand(predecessor == before and 1 <= event <= 7 and not any(zero), "the vault's own chain does not hold")
            before = own_hash
            if event == 3:
                demand(epoch == begun and len(payload) == 64, "an event of soft delete")
                continue
            if event == 5:
                warn, hard, length, zero = struct.unpack_from("<QQH6s", payload, 48)
                name = payload[72:].decode()
                demand(epoch == begun and len(payload) == 72 + length and not any(zero), "an event of a quota")
                demand(length <= 128, "the name of a quota")
                self.quotas[name] = warn, hard
                continue
            if event == 4:
                self.take_document(payload, epoch == begun)
                continue
            if event == 6:
                chain_id, number = struct.unpack_from("<16sQ", payload, 48)
                demand(epoch == begun and len(payload) == 104, "an event of an entry that is given up")
                self.given_up.add((chain_id, number))
                continue
            if event == 7:
                demand(epoch == begun and len(payload) == 48, "an event of the time")
                continue
            if event == 2:
                demand(epoch == begun and payload[48:] != self.keys.slot, "this key was removed")
                continue
            began, rewritten, zero, inventory = struct.unpack_from("<IB3s32s", payload, 48)
            demand(began == epoch == begun + 1 and rewritten < 2 and not any(zero), "an epoch out of turn")
            demand(self.keys.epochs[began][2] == inventory, "an epoch that the slot does not know")
            begun = began
        return begun

    def take_document(self, payload, is_of_its_epoch):
        """A policy or a machine; read so far that all of it is where FORMAT.md says."""
        kind, name_length, zero, length = struct.unpack_from("<BBHI", payload, 48)
        demand(is_of_its_epoch and kind in (1, 2) and zero == 0, "an event of a document")
        demand(0 < name_length <= 128 and length <= 65536, "the lengths of a document's event")
        demand(len(payload) == 56 + name_length + length, "the lengths of a document's event")
        name, document = payload[56:56 + name_length].decode(), payload[56 + name_length:]
        self.documents.pop((kind, name), None)
        if document:
            self.documents[kind, name] = json.loads(document)
            demand(self.documents[kind, name]["version"] == 1, "a document of version 1")

    def record(self, kind, record_id):
        for segment in self.segments:
            if (kind, record_id) in segment.records:
                return segment.read(kind, record_id)
        raise SystemExit(f"read_vault: no segment has record {record_id.hex()}")

    def points(self):
        """Machine, time and manifest of each point, chain by chain."""
        own = self.keys.chain_of("").hex()
        for chain in sorted(chain for chain in (self.path / "catalog").iterdir() if chain.name != own):
            before, chain_id, made, forgotten = bytes(32), bytes.fromhex(chain.name), {}, set()
            for sequence, own_hash, epoch, payload in self.entries(chain):
                listed = lambda inventory: (chain_id, sequence, own_hash) in inventory.entries
                demand(self.keys.counts(epoch, listed), "an entry that was made with keys from before a rotation")
                demand(payload[:32] == before, "a chain that does not hold")
                before, event, point = own_hash, payload[32], payload[40:56]
                if event == MADE:
                    made[point] = payload
                    continue
                self.check_change(payload, chain_id)
                if event == FORGOTTEN:
                    forgotten.add(point)
                elif event in (BROUGHT_BACK, PURGED):
                    demand(point in forgotten, "a point that was not forgotten")
                    forgotten.discard(point)
                    if event == PURGED:
                        del made[point]
            for point, payload in made.items():
                if point not in forgotten:
                    yield self.point(payload, chain_id)

    def check_change(self, payload, chain_id):
        event, zero, name, reason, zeros, _, until, _ = struct.unpack_from("<BBHHH16sqq", payload, 32)
        demand(event in range(FORGOTTEN, PURGED + 1) and zero == zeros == 0, "an unknown event")
        demand(until == 0 or event in (FORGOTTEN, PROTECTED), "an event that has no end")
        demand(len(payload) == 72 + name + reason and reason <= 256, "the lengths of an event's texts")
        demand(self.keys.chain_of(payload[72:72 + name].decode()) == chain_id, "another machine's chain")

    def point(self, payload, chain_id):
        layout = struct.unpack_from("<32sBBHI16sqq16sQ32s", payload)
        _, _, _, name_length, zero, point, time, _, segment_id, offset, manifest_id = layout
        demand(zero == 0, "reserved bytes of an entry")
        machine = payload[128:].decode()
        demand(len(payload) == 128 + name_length, "the length of a machine's name")
        demand(self.keys.chain_of(machine) == chain_id, "another machine's chain")
        segment = next((segment for segment in self.segments if segment.id == segment_id), None)
        if segment:
            demand(segment.records[MANIFEST, manifest_id][1][1] * 16 == offset, "the manifest's place")
        # Where the segment is gone the record was moved; its id finds it.
        manifest = json.loads(self.record(MANIFEST, manifest_id))
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
        demand(self.keys.epochs[0][3], "a backup key reads no data")
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
    way.add_argument("--recovery", type=bytes.fromhex, help="the 32 bytes that the words stand for")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("points")
    verbs.add_parser("quotas")
    verbs.add_parser("documents")
    restore = verbs.add_parser("restore")
    for name in ("machine", "point", "disk", "output"):
        restore.add_argument(name)
    arguments = parser.parse_args()
    if arguments.key_file:
        credential = {"key_file": arguments.key_file.read_bytes()}
    elif arguments.recovery:
        credential = {"recovery": arguments.recovery}
    else:
        credential = {"password": arguments.password.encode()}
    try:
        vault = Vault(arguments.vault, credential)
        if arguments.verb == "restore":
            vault.restore(arguments.machine, arguments.point, arguments.disk, arguments.output)
            return
        if arguments.verb == "quotas":
            for machine, levels in sorted(vault.quotas.items()):
                if any(levels):
                    print(machine or "(vault)", *levels)
            return
        if arguments.verb == "documents":
            for (kind, name), document in sorted(vault.documents.items()):
                print("policy" if kind == 1 else "machine", name, json.dumps(document, sort_keys=True))
            return
        for machine, time, manifest in vault.points():
            print(f"{machine}/{time}", *(f"{disk['name']}:{disk['size_bytes']}" for disk in manifest["disks"]))
    except InvalidTag:
        sys.exit("read_vault: what is sealed does not open as FORMAT.md says")


if __name__ == "__main__":
    main()
