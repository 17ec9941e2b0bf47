//! A zeroed array in which a page of elements takes memory only after its first use.
//!
//! A device of one terabyte has half a million clusters, and most of these clusters are never used. The array is an
//! anonymous memory mapping, so the kernel allocates a page of elements at the first access. Only this file depends
//! on the fact that the array is a mapping.

use std::marker::PhantomData;
use std::mem::{needs_drop, size_of};
use std::ops::{Deref, Range};

use bytemuck::Zeroable;
use memmap2::{MmapOptions, MmapRaw, UncheckedAdvice};

use crate::base::error::{Result, SwapError};
use crate::base::limits::PAGE_SIZE;

/// A page-aligned array of `T` with a fixed size, in which every byte is zero at first.
#[derive(Debug)]
pub(crate) struct MappedSlice<T> {
    map: MmapRaw,
    len: usize,
    _elements: PhantomData<T>,
}

impl<T: Zeroable + Send + Sync> MappedSlice<T> {
    const PLAIN: () = assert!(!needs_drop::<T>() && align_of::<T>() <= PAGE_SIZE && size_of::<T>() > 0);

    /// Maps an array of `len` elements. Errors: `NoMemory` (ENOMEM).
    pub(crate) fn zeroed(len: usize) -> Result<Self> {
        let () = Self::PLAIN;
        let no_memory = || SwapError::NoMemory((len as u64).saturating_mul(size_of::<T>() as u64));
        let bytes = len.checked_mul(size_of::<T>()).ok_or_else(no_memory)?.max(1);
        // `no_reserve_swap`, because most elements of a large device are never touched, and a system with strict
        // overcommit accounting would refuse to reserve swap space for all elements.
        let map = MmapOptions::new().len(bytes).no_reserve_swap().map_anon().map_err(|_| no_memory())?;
        Ok(Self { map: map.into(), len, _elements: PhantomData })
    }

    /// Gives the memory of a range of elements back to the system. The elements read as zero bytes afterwards.
    ///
    /// The caller is the only user of these elements. After this call, no other code expects a value other than zero
    /// in the elements.
    pub(crate) fn release(&self, elements: Range<usize>) {
        assert!(elements.start <= elements.end && elements.end <= self.len, "release beyond the array");
        let (offset, bytes) = (elements.start * size_of::<T>(), elements.len() * size_of::<T>());
        debug_assert!(offset % PAGE_SIZE == 0 && bytes % PAGE_SIZE == 0, "only whole pages can be given back");
        // SAFETY: 1. the range lies in the mapping, asserted above. 2. the mapping is private and anonymous, so the
        // released pages read as zeros, and all zero bytes are a valid `T` (Zeroable); no reference sees
        // uninitialised memory. If the system refuses the call, the elements keep their bytes, which are zeros too.
        #[expect(unsafe_code, reason = "giving memory back is a raw system call on the mapping")]
        let _ = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, offset, bytes) };
    }
}

impl<T: Zeroable + Send + Sync> Deref for MappedSlice<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: 1. the mapping holds `len` elements and is page aligned, and `T` needs no larger alignment. 2. the
        // mapping starts as zero bytes, valid for `T` (Zeroable), and is only written through `T`'s own interior
        // mutability or made zero again by `release`. 3. the mapping lives as long as `self`, and no function returns
        // a `&mut` into the mapping.
        #[expect(unsafe_code, reason = "the mapping is raw memory")]
        unsafe {
            std::slice::from_raw_parts(self.map.as_mut_ptr().cast::<T>(), self.len)
        }
    }
}

/// Returns the bytes, in whole pages, that the first `len` elements of an array occupy once all of them were touched.
pub(crate) fn page_bytes<T>(len: usize) -> u64 {
    (len * size_of::<T>()).next_multiple_of(PAGE_SIZE) as u64
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;

    #[test]
    fn released_pages_read_as_zero() {
        let slice = MappedSlice::<AtomicU64>::zeroed(2048).expect("16 KiB");
        slice.iter().for_each(|word| word.store(7, Relaxed));
        slice.release(512..1024);
        assert_eq!(slice[511].load(Relaxed), 7);
        assert!(slice[512..1024].iter().all(|word| word.load(Relaxed) == 0));
        assert_eq!(slice[1024].load(Relaxed), 7);
    }

    #[test]
    fn impossible_size_is_an_error() {
        assert!(MappedSlice::<AtomicU64>::zeroed(usize::MAX / 2).is_err());
    }
}
