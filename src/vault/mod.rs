//! Open, init, locks: the facade that the library's users call.

mod check;
mod clock;
mod copy;
mod documents;
mod due;
mod flat;
mod forecast;
mod forget;
mod gc;
mod give_up;
mod keys;
mod locked;
mod options;
mod parallel;
mod quota;
mod repair;
mod salvage;
mod stats;
mod unlock;
mod usage;

pub use check::{
    Coverage, DamagedRange, DamagedSegment, ScrubReport, Subset, VerifyOptions, VerifyProgress, VerifyReport,
};
pub use clock::ClockAhead;
pub use copy::{
    CopiedPoint, CopyFailure, CopyOptions, CopyPlan, CopyProgress, CopyReport, CopySkip, CopyWanted, CopyWay,
};
pub use documents::Documents;
pub use due::{Claim, Due, DueBackup, request_of};
pub use forecast::{Forecast, Growth, Limit};
pub use forget::{SoftDelete, time_left};
pub use gc::{GcOptions, GcProgress, GcReport};
pub use keys::{KeyRequest, ListedSlot, NewSlot, RewriteProgress, RewriteReport, RotationReport, Standing};
pub use options::{InitOptions, OpenOptions};
pub use quota::{Quota, QuotaUse};
pub use repair::{CopyFacts, Mended, Repair, RepairPlan, RepairProgress, RepairReport, RepairSources, Restored};
pub use salvage::Salvaged;
pub use stats::{MachineStats, Stats};
pub use usage::{MachineUsage, PointUsage, Usage, UsageDamage};

use std::path::Path;

use jiff::Timestamp;

use crate::backup::{self, BackupDisk, BackupReport, BackupRequest, Progress};
use crate::error::{Damage, Error, Problem, Result};
use crate::format::Id;
use crate::format::catalog_entry;
use crate::format::check_note;
use crate::format::condemned;
use crate::format::header::{self, Header};
use crate::format::hex;
use crate::format::index_run;
use crate::format::inventory;
use crate::format::key_slot::{self, Role};
use crate::format::parity;
use crate::format::segment::{self, RecordType};
use crate::media::{DirectoryMedia, Media, ReadMode};
use crate::meter::Meter;
use crate::point::hold::Hold;
use crate::point::vault_chain::{self, VaultChain};
use crate::point::{self, ByteRange, Catalog, DiskMap, Heads, Manifest, PointInfo, Setback};
use crate::quiesce::{Achieved, DiskImage, Freeze, Quiesce, QuiescedBackup, check_images};
use crate::restore::{self, RestoreOptions, RestoreReport};
use crate::seal::{Credential, RoleKeys, SlotInfo, VaultKeys, Wish, random, wrap};
use crate::store::parity::Correction;
use crate::store::{CONDEMNED_LOCK, Kept, REMOVAL_LOCK, Reader, Store, WRITERS_LOCK};
use crate::sync::{Arc, thread};
use crate::tree::VaultTree;
use unlock::Unlocked;

/// Folders of a vault.
pub const FOLDERS: [&str; 8] = [
    key_slot::FOLDER,
    segment::FOLDER,
    parity::FOLDER,
    catalog_entry::FOLDER,
    index_run::FOLDER,
    check_note::FOLDER,
    inventory::FOLDER,
    condemned::FOLDER,
];

/// Lock files of a vault.
pub const LOCKS: [&str; 5] = [WRITERS_LOCK, REMOVAL_LOCK, CONDEMNED_LOCK, keys::KEYS_LOCK, point::hold::POINTS_LOCK];

/// An open vault. Any number of calls may run at once, from any number of threads and processes.
pub struct Vault {
    media: Arc<dyn Media>,
    header: Header,
    slot: SlotInfo,
    reader: Arc<Reader>,
    catalog: Arc<Catalog>,
    /// What was found without the catalog, where the vault was opened to salvage what is left.
    salvaged: Option<Salvaged>,
    /// What is wrong with the vault's own chain, and with the list of what there was before the newest epoch.
    own_damage: Vec<Damage>,
    options: OpenOptions,
}

impl Vault {
    /// Makes a vault in a directory, which must be empty or absent, with one key slot of role `admin`.
    pub fn init(path: &Path, credential: &Credential, options: &InitOptions) -> Result<Self> {
        let media = Arc::new(DirectoryMedia::new(path, options.read_mode));
        options.check()?;
        media.initialize(&FOLDERS, &LOCKS)?;
        Self::init_on(media, credential, options)
    }

    /// Makes a vault on media whose folders are there.
    pub fn init_on(media: Arc<dyn Media>, credential: &Credential, options: &InitOptions) -> Result<Self> {
        options.check()?;
        let role_keys = RoleKeys::generate()?;
        let now = Timestamp::now().as_second().unsigned_abs();
        let header = Header {
            vault: random()?,
            created_unix_seconds: now,
            chunk_size_log2: options.chunk_size_log2()?,
            level: options.level,
            segment_bytes: options.segment_bytes,
            parity_percent: options.parity_percent,
            public: role_keys.public(),
        };
        let keys = VaultKeys::new(header.vault, Role::Admin, role_keys.clone());
        // The slot before the header: what has a header is a vault, and a vault can be opened.
        let wish = Wish {
            role: Role::Admin,
            credential,
            cost: options.password_cost,
            label: &options.label,
            now_unix_seconds: now,
            epoch_unix_seconds: now,
        };
        let slot = wrap(header.vault, &role_keys, &wish)?;
        keys::publish(media.as_ref(), &slot)?;
        let header_bytes = header.encode(keys.authenticate_header(&header));
        // An earlier `init` that failed may have left its copy.
        media.remove(header::COPY)?;
        // The copy survives power loss before there is a header: whoever finds a vault finds both.
        let written = put(media.as_ref(), header::COPY, &header_bytes)
            .and_then(|()| media.sync_folder(""))
            .and_then(|()| put(media.as_ref(), header::OBJECT, &header_bytes));
        if let Err(error) = written {
            // Without its header, the slot would be a stranger in whatever vault somebody else made here meanwhile.
            let _ = media.remove(&slot.object());
            return Err(error);
        }
        media.sync_folder("")?;
        let (keys, slot) = (Arc::new(keys), SlotInfo::from(&slot));
        let unlocked = Unlocked { header, keys, slot, own_damage: Vec::new() };
        Self::assemble(media, unlocked, &OpenOptions::default())
    }

    /// Opens the vault in a directory.
    pub fn open(path: &Path, credential: &Credential, options: &OpenOptions) -> Result<Self> {
        let media = Arc::new(DirectoryMedia::new(path, options.read_mode));
        refuse_absent(media.as_ref())?;
        Self::open_on(media, credential, options)
    }

    /// Opens the vault on any media.
    pub fn open_on(media: Arc<dyn Media>, credential: &Credential, options: &OpenOptions) -> Result<Self> {
        let unlocked = unlock::unlock(media.as_ref(), &[], credential, options.salvage)?;
        let mut vault = Self::assemble(media, unlocked, options)?;
        if options.salvage {
            vault.salvaged = Some(vault.find_points()?);
        }
        Ok(vault)
    }

    fn assemble(media: Arc<dyn Media>, unlocked: Unlocked, options: &OpenOptions) -> Result<Self> {
        let Unlocked { header, keys, slot, own_damage } = unlocked;
        // At once: each waits for the medium most of the time.
        let (store, catalog) = thread::scope(|scope| {
            let (of_catalog, keys_of_catalog) = (Arc::clone(&media), Arc::clone(&keys));
            let catalog = scope.spawn(|| Catalog::open(of_catalog, keys_of_catalog));
            let store = Store::open(Arc::clone(&media), keys, header.clone());
            (store, catalog.join().unwrap_or(Err(Error::Poisoned)))
        });
        let store = Arc::new(store?);
        let (own_media, own_keys) = (Arc::clone(&media), Arc::clone(store.keys()));
        store.on_rotation(move || VaultChain::read(own_media.as_ref(), &own_keys).is_ok_and(|chain| chain.is_newer));
        let reader = Arc::new(Reader::new(store, options.cache));
        let catalog = Arc::new(catalog?);
        Ok(Self { media, header, slot, reader, catalog, salvaged: None, own_damage, options: *options })
    }

    /// What `init` decided.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The slot that opened the vault.
    pub fn opened_by(&self) -> &SlotInfo {
        &self.slot
    }

    /// Where the time goes in this process' work on the vault.
    pub fn meter(&self) -> &Meter {
        self.reader.store().meter()
    }

    /// Where the vault is.
    pub fn location(&self) -> &Path {
        self.media.location()
    }

    /// Has `tell` called once for each segment of which damaged bytes are computed from its parity, those of before included.
    /// What is read is right, but the segment should be repaired.
    pub fn on_correction(&self, tell: impl Fn(&Correction) + Send + Sync + 'static) {
        self.reader.store().on_correction(tell);
    }

    /// Reads what others added to the catalog since.
    pub fn refresh(&self) -> Result<()> {
        self.catalog.refresh()
    }

    /// The machines that have points, in order of name.
    pub fn machines(&self) -> Vec<String> {
        self.catalog.machines()
    }

    /// The points of a machine, oldest first.
    pub fn points(&self, machine: &str) -> Result<Vec<Arc<PointInfo>>> {
        self.catalog.points(machine)
    }

    /// One point: by its name, `latest`, or the first digits of its id.
    pub fn point(&self, machine: &str, point: &str) -> Result<Arc<PointInfo>> {
        self.catalog.point(machine, point)
    }

    /// What was found without the catalog, where the vault was opened to salvage what is left.
    pub fn salvaged(&self) -> Option<&Salvaged> {
        self.salvaged.as_ref()
    }

    /// How far each chain of the catalog has come: who keeps that outside the vault can tell later whether the vault was set
    /// back to an older state. Chains whose last entry can't be read are left out; [`Self::catalog_damage`] tells of them.
    pub fn heads(&self) -> Heads {
        let keys = self.reader.store().keys();
        let mut chains = self.catalog.heads();
        // One that can't be listed is damage too, and was told when the vault was opened.
        chains.extend(VaultChain::read(self.media.as_ref(), keys).ok().and_then(|own| own.chain_head(keys)));
        Heads { vault: hex(&self.header.vault), chains }
    }

    /// The chains that did not go on from where they were. Looks at the files as they are now.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the heads of another vault.
    pub fn setbacks(&self, heads: &Heads) -> Result<Vec<Setback>> {
        setbacks_on(self.media.as_ref(), Some(&self.header.vault), heads)
    }

    /// The same without any key, in a vault's directory.
    ///
    /// # Errors
    /// As [`Self::setbacks`]; [`Error::NoVault`]; the medium's.
    pub fn setbacks_without_key(path: &Path, heads: &Heads) -> Result<Vec<Setback>> {
        let media = DirectoryMedia::new(path, ReadMode::Pread);
        refuse_absent(&media)?;
        let known = [header::OBJECT, header::COPY].iter().find_map(|name| read_header(&media, name).ok());
        setbacks_on(&media, known.map(|known| known.header.vault).as_ref(), heads)
    }

    /// What is known to be damaged in the catalog, but for what is given up.
    pub fn catalog_damage(&self) -> Vec<Damage> {
        self.but_given_up(self.own_damage.iter().cloned().chain(self.catalog.damage()).collect())
    }

    /// The same of the vault's own chain alone.
    fn own_damage(&self) -> Vec<Damage> {
        self.but_given_up(self.own_damage.clone())
    }

    /// The same of the chains that tell of points.
    fn damage_of_points(&self) -> Vec<Damage> {
        self.but_given_up(self.catalog.damage())
    }

    fn but_given_up(&self, mut damage: Vec<Damage>) -> Vec<Damage> {
        if !damage.is_empty()
            && let Ok(chain) = VaultChain::read(self.media.as_ref(), self.reader.store().keys())
        {
            damage.retain(|one| !chain.gave_up(self.media.as_ref(), &one.object));
        }
        damage
    }

    /// A point's manifest.
    pub fn manifest(&self, point: &PointInfo) -> Result<Manifest> {
        read_manifest(self.reader.store(), point)
    }

    /// One disk of a point.
    pub fn disk(&self, point: &PointInfo, disk: &str) -> Result<DiskMap> {
        let manifest = self.manifest(point)?;
        let unknown = || Error::UnknownDisk { point: point.name.clone(), disk: disk.to_owned() };
        let held = self.hold(point)?;
        Ok(DiskMap::open(Arc::clone(&self.reader), manifest.disk(disk).ok_or_else(unknown)?)?.held_by(held))
    }

    /// Keeps a point from being purged while it is read.
    fn hold(&self, point: &PointInfo) -> Result<Hold> {
        point::hold::hold(self.media.as_ref(), &self.catalog, point)
    }

    /// Backs up a machine's disks as a new point.
    pub fn backup(&self, request: &BackupRequest, progress: &Progress) -> Result<BackupReport> {
        let claim = || Ok(Achieved { consistency: request.consistency, quiesced: None });
        self.backup_read(request, progress, claim)
    }

    /// Backs up images and devices of a machine, which `quiesce` makes hold still, as a new point. To `request` the disks are
    /// added, and its consistency is what `quiesce` says and its scripts achieve. Commands run until they have undone what was
    /// begun, also after a wish to stop.
    pub fn backup_quiesced(
        &self,
        mut request: BackupRequest,
        images: &[DiskImage],
        quiesce: &Quiesce,
        progress: &Progress,
    ) -> QuiescedBackup {
        let checked = request.check_labels().and_then(|()| check_images(images)).and_then(|()| quiesce.check());
        let checked = checked.and_then(|()| self.check_not_salvaged(&request));
        if let Err(error) = checked.and_then(|()| self.check_writable()) {
            return QuiescedBackup { outcome: Err(error), runs: Vec::new() };
        }
        let machine = request.machine.clone();
        let mut freeze = Freeze::new(quiesce, &machine, images);
        let outcome = freeze.begin(&|| progress.is_cancelled()).and_then(|still| {
            request.time = request.time.or(still.moment);
            for (image, source) in images.iter().zip(still.sources) {
                request.disks.push(BackupDisk { name: image.name.clone(), source: Box::new(source), changed: None });
            }
            self.backup_read(&request, progress, || freeze.read())
        });
        // Before the release: a device that is open can't be removed.
        drop(request);
        let runs = freeze.end(outcome.is_ok());
        QuiescedBackup { outcome, runs }
    }

    fn backup_read(
        &self,
        request: &BackupRequest,
        progress: &Progress,
        read: impl FnOnce() -> Result<Achieved>,
    ) -> Result<BackupReport> {
        self.check_not_salvaged(request)?;
        backup::run(&self.reader, &self.catalog, request, progress, read).map_err(|error| self.dated(error))
    }

    /// Waits until nobody has the vault alone, and fails where these keys must not be written under: no machine is frozen for
    /// that.
    fn check_writable(&self) -> Result<()> {
        let _kept = Kept::begin(self.media.as_ref(), &|| Ok(()))?;
        vault_chain::check(self.media.as_ref(), self.reader.store().keys()).map(drop).map_err(|error| self.dated(error))
    }

    fn check_not_salvaged(&self, request: &BackupRequest) -> Result<()> {
        if self.salvaged.is_some() {
            // A header that was guessed, and points without entries, are good for reading and nothing else.
            let (value, rule) =
                (request.machine.clone(), "a vault that is opened to salvage what is left is only read");
            return Err(Error::Invalid { what: "backup", value, rule });
        }
        Ok(())
    }

    /// Restores one disk of a point to a file or a block device.
    pub fn restore(
        &self,
        point: &PointInfo,
        disk: &str,
        target: &Path,
        options: &RestoreOptions,
        progress: &restore::Progress,
    ) -> Result<RestoreReport> {
        let keys = self.reader.store().keys();
        if !keys.reads_data() {
            // Before anything is written: a device would get zeros until the first chunk is refused.
            return Err(Error::NotPermitted { held: keys.role().name(), needed: "the role restore or admin" });
        }
        self.refuse_inside(target)?;
        let _held = self.hold(point)?;
        let manifest = self.manifest(point)?;
        let unknown = || Error::UnknownDisk { point: point.name.clone(), disk: disk.to_owned() };
        let disk = manifest.disk(disk).ok_or_else(unknown)?;
        let data_bytes = disk.size_bytes.saturating_sub(disk.zero_bytes);
        let map = DiskMap::open(Arc::clone(&self.reader), disk)?;
        restore::run(&map, target, data_bytes, options, progress)
    }

    /// Fails where a path leads into the vault's own directory.
    fn refuse_inside(&self, target: &Path) -> Result<()> {
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let real = |path: &Path| path.canonicalize().ok();
        let Some(vault) = real(self.location()) else { return Ok(()) };
        if [real(target), real(folder)].into_iter().flatten().any(|path| path.starts_with(&vault)) {
            let use_ = "it is inside the vault".to_owned();
            return Err(Error::TargetInUse { path: target.to_path_buf(), use_ });
        }
        Ok(())
    }

    /// The ranges of a disk that differ between two points, in bytes.
    pub fn diff(&self, a: (&PointInfo, &str), b: (&PointInfo, &str)) -> Result<Vec<ByteRange>> {
        self.disk(a.0, a.1)?.diff(&self.disk(b.0, b.1)?)
    }

    /// Everything in the vault as one read-only tree.
    pub fn tree(&self) -> VaultTree {
        VaultTree::new(Arc::clone(&self.reader), Arc::clone(&self.catalog))
    }
}

/// Where nobody knows which vault it is, only whole entries of the right one fit their hash.
fn setbacks_on(media: &dyn Media, vault: Option<&Id>, heads: &Heads) -> Result<Vec<Setback>> {
    if vault.is_some_and(|vault| hex(vault) != heads.vault) {
        let rule = "it tells of another vault";
        return Err(Error::Invalid { what: "heads file", value: heads.vault.clone(), rule });
    }
    Ok(point::setbacks(media, heads))
}

/// Fails where there is no vault. Keys without a header are a vault that lost it, or an `init` that did not get to its end.
fn refuse_absent(media: &dyn Media) -> Result<()> {
    if !media.exists(header::OBJECT)? && media.list(key_slot::FOLDER)?.is_empty() {
        return Err(Error::NoVault { path: media.location().to_path_buf() });
    }
    Ok(())
}

/// Reads and checks a copy of the header, but for its authenticator.
fn read_header(media: &dyn Media, name: &str) -> Result<header::Decoded> {
    let object = media.open(name)?;
    let mut bytes = vec![0; usize::try_from(object.length()).unwrap_or(usize::MAX).min(header::SIZE + 1)];
    object.read_exact_at(0, &mut bytes)?;
    Header::decode(&bytes).map_err(|error| error.at(name, 0))
}

/// Writes a whole object.
fn put(media: &dyn Media, name: &str, bytes: &[u8]) -> Result<()> {
    let object = media.create(name)?;
    object.write_at(0, bytes)?;
    if object.publish()? {
        return Ok(());
    }
    Err(Error::VaultExists { path: media.location().to_path_buf() })
}

/// Reads and checks the manifest that a catalog entry names.
pub(crate) fn read_manifest(store: &Store, point: &PointInfo) -> Result<Manifest> {
    checked_manifest(&store.read(RecordType::Manifest, &point.entry.manifest)?, point)
}

/// A manifest from its plain bytes; fails where it is another point's.
fn checked_manifest(bytes: &[u8], point: &PointInfo) -> Result<Manifest> {
    let object = segment::object(&point.entry.segment);
    let manifest = Manifest::decode(bytes, &object)?;
    if manifest.point != point.id || manifest.machine != point.machine {
        return Err(Error::damaged(object, point.entry.offset, Problem::Misplaced("point id")));
    }
    Ok(manifest)
}
