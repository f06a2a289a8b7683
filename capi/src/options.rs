//! Options in C: structures that begin with their own size, and whose zeros are the defaults.
//!
//! A program's structure may be of another version than the library's. A new field goes behind the last one, never into the
//! padding that ends a structure, which a caller needn't have cleared.

use crate::{Failure, rq_status};
use std::mem::MaybeUninit;

/// The largest size that is taken for one: far beyond what options need.
const MOST: usize = 1024;

/// A structure of options.
///
/// # Safety
/// It is `repr(C)`, its first field is `size: usize`, and the others are numbers or pointers, of which all zeros are a value.
pub(crate) unsafe trait Options: Copy {
    /// Its name in C.
    const NAME: &'static str;
}

/// The options at a pointer, as far as the caller's structure goes; NULL, and what the structure lacks, is zero.
///
/// # Safety
/// `pointer` is NULL, or points to as many bytes as the size says with which they begin.
pub(crate) unsafe fn read<T: Options>(pointer: *const T) -> Result<T, Failure> {
    let mut options = MaybeUninit::<T>::zeroed();
    if !pointer.is_null() {
        let own = Own {
            name: T::NAME,
            size: size_of::<T>(),
            align: align_of::<T>(),
        };
        // SAFETY: the caller's promise, and there is room for `own.size` bytes.
        unsafe { copy(pointer.cast(), options.as_mut_ptr().cast(), &own) }?;
    }
    // SAFETY: zeros are a value, and so are the caller's bytes, by what `Options` and the caller promise.
    Ok(unsafe { options.assume_init() })
}

/// A structure as the library knows it.
struct Own {
    name: &'static str,
    size: usize,
    align: usize,
}

/// Copies what the caller's structure has of the library's.
///
/// # Safety
/// `from` points to as many bytes as the number says with which they begin, and `to` to room for `own.size` bytes.
unsafe fn copy(from: *const u8, to: *mut u8, own: &Own) -> Result<(), Failure> {
    let name = own.name;
    // SAFETY: the caller's promise.
    let size = unsafe { from.cast::<usize>().read() };
    // Whatever its version, `sizeof` is a multiple of the alignment, so that no field is cut in two.
    if !(size_of::<usize>()..=MOST).contains(&size) || !size.is_multiple_of(own.align) {
        let message = format!("the size of {name} is {size}: set it to sizeof({name})");
        return Err(Failure::new(rq_status::RQ_OPTION, message));
    }
    // SAFETY: both are as long as that.
    unsafe { from.copy_to_nonoverlapping(to, size.min(own.size)) };
    if size > own.size {
        // SAFETY: the caller's structure goes on to there.
        let rest = unsafe { std::slice::from_raw_parts(from.add(own.size), size - own.size) };
        if rest.iter().any(|&byte| byte != 0) {
            let message = format!(
                "{name} sets an option that this version of rq doesn't have: the program was compiled for a newer one, where it has \
                 {size} bytes, and not {}",
                own.size
            );
            return Err(Failure::new(rq_status::RQ_OPTION, message));
        }
    }
    Ok(())
}
