//! The C functions of libvirt that `virt` does not wrap, each behind a safe one. Nothing here
//! decides anything; nothing outside may be unsafe.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    ptr,
    sync::Arc,
};

use virt::{connect::Connect, domain::Domain, error::Error};
use virt_sys as sys;

/// A call's result in `virt`'s terms.
type Raw<T> = Result<T, Error>;

fn check(result: c_int) -> Raw<c_int> {
    if result < 0 { Err(Error::last_error()) } else { Ok(result) }
}

/// A text for C. Texts come from our own XML and checked names; one with a zero byte is cut
/// there, and libvirt answers that it is not well-formed.
fn c_text(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).unwrap_or_default()
}

/// Takes over a text that libvirt allocated.
///
/// # Safety
/// `text` is null or a string from `malloc` that nobody else owns.
unsafe fn take_text(text: *mut c_char) -> Raw<String> {
    if text.is_null() {
        return Err(Error::last_error());
    }
    // SAFETY: not null, and by contract a C string.
    let owned = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    // SAFETY: by contract it came from `malloc` and is ours; it is not used again.
    unsafe { libc::free(text.cast()) };
    Ok(owned)
}

/// Keeps libvirt from printing errors: they are returned as values.
pub(super) fn silence_errors() {
    unsafe extern "C" fn ignore(_: *mut c_void, _: sys::virErrorPtr) {}
    // SAFETY: the handler touches nothing and lives as long as the process.
    unsafe { sys::virSetErrorFunc(ptr::null_mut(), Some(ignore)) };
}

/// Registers libvirt's own event loop. Once per process, before the first connection.
pub(super) fn register_event_loop() -> Raw<()> {
    // SAFETY: no arguments; the caller calls it once.
    check(unsafe { sys::virEventRegisterDefaultImpl() })?;
    unsafe extern "C" fn tick(_: c_int, _: *mut c_void) {}
    // SAFETY: the callback touches nothing; a timer lets each turn of the loop end.
    check(unsafe { sys::virEventAddTimeout(EVENT_TICK_MS, Some(tick), ptr::null_mut(), None) }).map(drop)
}

/// Longest turn of the event loop, in milliseconds.
const EVENT_TICK_MS: c_int = 1000;

/// One turn of the event loop.
pub(super) fn run_event_loop_once() -> Raw<()> {
    // SAFETY: no arguments; the loop was registered before.
    check(unsafe { sys::virEventRunDefaultImpl() }).map(drop)
}

/// Begins a backup, and where `checkpoint` is given a checkpoint at the same instant.
pub(super) fn backup_begin(domain: &Domain, backup: &str, checkpoint: Option<&str>) -> Raw<()> {
    let (backup, checkpoint) = (c_text(backup), checkpoint.map(c_text));
    let checkpoint = checkpoint.as_ref().map_or(ptr::null(), |text| text.as_ptr());
    // SAFETY: a live domain; both texts outlive the call.
    check(unsafe { sys::virDomainBackupBegin(domain.as_ptr(), backup.as_ptr(), checkpoint, 0) }).map(drop)
}

/// Definition of the running backup.
pub(super) fn backup_xml(domain: &Domain) -> Raw<String> {
    // SAFETY: a live domain; the text returned is ours.
    unsafe { take_text(sys::virDomainBackupGetXMLDesc(domain.as_ptr(), 0)) }
}

/// Asks the running job to end; it may take a while to do so.
pub(super) fn abort_job(domain: &Domain) -> Raw<()> {
    // SAFETY: a live domain.
    check(unsafe { sys::virDomainAbortJob(domain.as_ptr()) }).map(drop)
}

/// The job that runs on a domain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Job {
    /// A `VIR_DOMAIN_JOB_*` type; 0: none runs.
    pub(super) kind: c_int,
    /// A `VIR_DOMAIN_JOB_OPERATION_*`.
    pub(super) operation: c_int,
    pub(super) scratch_used: Option<u64>,
    pub(super) scratch_total: Option<u64>,
}

impl Job {
    pub(super) fn runs(&self) -> bool {
        self.kind != 0
    }

    pub(super) fn is_backup(&self) -> bool {
        u32::try_from(self.operation).is_ok_and(|o| o == sys::VIR_DOMAIN_JOB_OPERATION_BACKUP)
    }
}

/// The job that runs on a started domain.
pub(super) fn job(domain: &Domain) -> Raw<Job> {
    let mut job = Job::default();
    let (mut params, mut count) = (ptr::null_mut(), 0);
    // SAFETY: a live domain; libvirt allocates the parameters and sets their number.
    check(unsafe {
        sys::virDomainGetJobStats(domain.as_ptr(), &raw mut job.kind, &raw mut params, &raw mut count, 0)
    })?;
    let number = |name: &CStr| {
        let mut value = 0;
        // SAFETY: the array that libvirt just filled; absent names leave `value` alone.
        let found = unsafe { sys::virTypedParamsGetULLong(params, count, name.as_ptr(), &raw mut value) };
        (found == 1).then_some(value)
    };
    job.scratch_used = number(sys::VIR_DOMAIN_JOB_DISK_TEMP_USED);
    job.scratch_total = number(sys::VIR_DOMAIN_JOB_DISK_TEMP_TOTAL);
    // SAFETY: as above.
    unsafe {
        sys::virTypedParamsGetInt(
            params,
            count,
            sys::VIR_DOMAIN_JOB_OPERATION.as_ptr(),
            &raw mut job.operation,
        );
    }
    // SAFETY: the array is ours and not used again.
    unsafe { sys::virTypedParamsFree(params, count) };
    Ok(job)
}

/// A block job on one disk: type, bytes done, bytes in all.
pub(super) fn block_job(domain: &Domain, disk: &str) -> Raw<Option<(c_int, u64, u64)>> {
    let disk = c_text(disk);
    let mut info = sys::virDomainBlockJobInfo { type_: 0, bandwidth: 0, cur: 0, end: 0 };
    // SAFETY: a live domain, a text and a structure that outlive the call.
    let found =
        check(unsafe { sys::virDomainGetBlockJobInfo(domain.as_ptr(), disk.as_ptr(), &raw mut info, 0) })?;
    Ok((found > 0).then_some((info.type_, info.cur, info.end)))
}

/// Begins to pull what is below a disk into its image, at a rate in bytes per second; 0: no bound.
pub(super) fn block_pull(domain: &Domain, disk: &str, rate: u64) -> Raw<()> {
    let disk = c_text(disk);
    let flags = sys::VIR_DOMAIN_BLOCK_PULL_BANDWIDTH_BYTES;
    // SAFETY: a live domain and a text that outlives the call.
    check(unsafe { sys::virDomainBlockPull(domain.as_ptr(), disk.as_ptr(), rate, flags) }).map(drop)
}

/// Ends a disk's block job, and waits until it is gone.
pub(super) fn block_job_abort(domain: &Domain, disk: &str) -> Raw<()> {
    let disk = c_text(disk);
    // SAFETY: a live domain and a text that outlives the call.
    check(unsafe { sys::virDomainBlockJobAbort(domain.as_ptr(), disk.as_ptr(), 0) }).map(drop)
}

/// A checkpoint; freed with this value.
struct Checkpoint(sys::virDomainCheckpointPtr);

impl Drop for Checkpoint {
    fn drop(&mut self) {
        // SAFETY: made from a pointer that libvirt gave us to own; freed only here.
        unsafe { sys::virDomainCheckpointFree(self.0) };
    }
}

/// Definitions of all checkpoints, parents first.
pub(super) fn checkpoint_xmls(domain: &Domain) -> Raw<Vec<String>> {
    let mut list = ptr::null_mut();
    let flags = sys::VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL;
    // SAFETY: a live domain; libvirt allocates the list.
    let count = check(unsafe { sys::virDomainListAllCheckpoints(domain.as_ptr(), &raw mut list, flags) })?;
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: libvirt filled `count` entries, each ours to free.
    let owned: Vec<Checkpoint> = (0..count).map(|i| Checkpoint(unsafe { *list.add(i) })).collect();
    // SAFETY: the list itself is ours too; its entries live on in `owned`.
    unsafe { libc::free(list.cast()) };
    // SAFETY: live checkpoints; the texts returned are ours.
    owned.iter().map(|c| unsafe { take_text(sys::virDomainCheckpointGetXMLDesc(c.0, 0)) }).collect()
}

/// Deletes a checkpoint.
pub(super) fn delete_checkpoint(domain: &Domain, name: &str, record_only: bool) -> Raw<()> {
    let name = c_text(name);
    // SAFETY: a live domain and a text that outlives the call.
    let found = unsafe { sys::virDomainCheckpointLookupByName(domain.as_ptr(), name.as_ptr(), 0) };
    if found.is_null() {
        return Err(Error::last_error());
    }
    let checkpoint = Checkpoint(found);
    let flags = if record_only { sys::VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY } else { 0 };
    // SAFETY: a live checkpoint.
    check(unsafe { sys::virDomainCheckpointDelete(checkpoint.0, flags) }).map(drop)
}

/// Who hears what happens on a connection.
pub(super) trait Listener: Send + Sync {
    /// A machine changed: its UUID's bytes, libvirt's event and detail.
    fn lifecycle(&self, machine: [u8; 16], event: c_int, detail: c_int);
    /// The connection broke.
    fn closed(&self);
}

/// The listener as libvirt keeps it for us: a box around the fat pointer.
type Kept = Arc<dyn Listener>;

/// Tells `listener` all lifecycle events of a connection until [`unlisten`]ed.
pub(super) fn listen(connection: &Connect, listener: &Kept) -> Raw<c_int> {
    let kept = Box::into_raw(Box::new(Arc::clone(listener)));
    let lifecycle: unsafe extern "C" fn(
        sys::virConnectPtr,
        sys::virDomainPtr,
        c_int,
        c_int,
        *mut c_void,
    ) -> c_int = on_lifecycle;
    // SAFETY: libvirt keeps all callbacks as one generic type and calls each by the type that
    // belongs to its event's number: for lifecycle events, the one given here.
    let generic = unsafe {
        std::mem::transmute::<
            unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, c_int, *mut c_void) -> c_int,
            unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void),
        >(lifecycle)
    };
    let id = i32::try_from(sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE).unwrap_or(0);
    // SAFETY: a live connection; `kept` is given to libvirt, which frees it by `forget`.
    let registered = unsafe {
        sys::virConnectDomainEventRegisterAny(
            connection.as_ptr(),
            ptr::null_mut(),
            id,
            Some(generic),
            kept.cast(),
            Some(forget),
        )
    };
    check(registered).inspect_err(|_| {
        // SAFETY: libvirt did not take it, so that it is still ours.
        unsafe { forget(kept.cast()) };
    })
}

/// Ends what [`listen`] began.
pub(super) fn unlisten(connection: &Connect, callback: c_int) {
    // SAFETY: a live connection; libvirt answers unknown numbers with an error.
    if unsafe { sys::virConnectDomainEventDeregisterAny(connection.as_ptr(), callback) } < 0 {
        tracing::debug!(error = %Error::last_error(), "libvirt's events were not let go");
    }
}

/// Tells `listener` when a connection breaks. Drivers inside this process cannot break, and
/// refuse.
pub(super) fn listen_for_close(connection: &Connect, listener: &Kept) -> Raw<()> {
    let kept = Box::into_raw(Box::new(Arc::clone(listener)));
    // SAFETY: as for `listen`.
    let registered = unsafe {
        sys::virConnectRegisterCloseCallback(connection.as_ptr(), Some(on_close), kept.cast(), Some(forget))
    };
    check(registered).map(drop).inspect_err(|_| {
        // SAFETY: libvirt did not take it, so that it is still ours.
        unsafe { forget(kept.cast()) };
    })
}

unsafe extern "C" fn on_lifecycle(
    _: sys::virConnectPtr,
    domain: sys::virDomainPtr,
    event: c_int,
    detail: c_int,
    kept: *mut c_void,
) -> c_int {
    let mut machine = [0; 16];
    // SAFETY: libvirt gives a domain that lives during this call, and room for 16 bytes.
    if unsafe { sys::virDomainGetUUID(domain, machine.as_mut_ptr()) } == 0 {
        // SAFETY: what `listen` handed over; libvirt frees it only after the last call.
        let listener = unsafe { &*kept.cast::<Kept>() };
        listener.lifecycle(machine, event, detail);
    }
    0
}

unsafe extern "C" fn on_close(_: sys::virConnectPtr, _: c_int, kept: *mut c_void) {
    // SAFETY: what `listen_for_close` handed over; libvirt frees it only after the last call.
    unsafe { &*kept.cast::<Kept>() }.closed();
}

unsafe extern "C" fn forget(kept: *mut c_void) {
    // SAFETY: made by `Box::into_raw`, and libvirt calls this once.
    drop(unsafe { Box::from_raw(kept.cast::<Kept>()) });
}
