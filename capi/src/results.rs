//! What a task answers with: owned by rq, read by the caller, and freed as a whole.

use crate::{Failure, rq_status, rq_string};
use std::ffi::CString;

/// What a call gives: a structure for the caller, and what it points to.
///
/// The caller gets a pointer to `head`, and gives it back to be freed. It is the first field, so that both are one address.
#[repr(C)]
struct Owned<H> {
    head: H,
    kept: Keeper,
}

/// Keeps what the pointers of a result point to.
#[derive(Default)]
pub(super) struct Keeper {
    /// Strings, each with a NUL behind it; not `CString`, which has a `Box`.
    strings: Vec<Vec<u8>>,
    /// `Vec`s, since to move a `Box` would claim what is in it, and end the result's right to it.
    lists: Vec<Box<dyn Kept>>,
}

trait Kept {}

impl<T> Kept for Vec<T> {}

impl Keeper {
    /// Keeps a string. One with a NUL inside is shown with spaces instead: such a string would end early in C.
    pub(super) fn string(&mut self, text: &str) -> rq_string {
        if text.is_empty() {
            return rq_string::of(c"");
        }
        let mut owned = text.replace('\0', " ").into_bytes();
        owned.push(0);
        // On the heap, where it stays when the list of strings grows.
        let string = rq_string {
            data: owned.as_ptr().cast(),
            len: text.len(),
        };
        self.strings.push(owned);
        string
    }

    /// Keeps a list; NULL for one without items.
    pub(super) fn list<T: 'static>(&mut self, items: Vec<T>) -> (*const T, usize) {
        if items.is_empty() {
            return (std::ptr::null(), 0);
        }
        let list = (items.as_ptr(), items.len());
        self.lists.push(Box::new(items));
        list
    }

    /// Keeps the results of a batch. A text that has no answer has a status, a message, and for an answer the empty one.
    pub(super) fn results<A: Default, R: 'static>(
        &mut self,
        answers: Vec<Result<A, Failure>>,
        result: impl Fn(rq_status, rq_string, A, &mut Self) -> R,
    ) -> (*const R, usize) {
        let results = answers.into_iter().map(|answer| match answer {
            Ok(answer) => result(rq_status::RQ_OK, rq_string::of(c""), answer, self),
            Err(failure) => {
                let message = self.string(&failure.message);
                result(failure.status, message, A::default(), self)
            }
        });
        let results = results.collect();
        self.list(results)
    }
}

/// Hands a result to the caller.
pub(super) fn hand_over<H>(head: impl FnOnce(&mut Keeper) -> H) -> *mut H {
    let mut kept = Keeper::default();
    let head = head(&mut kept);
    Box::into_raw(Box::new(Owned { head, kept })).cast()
}

/// Frees what [`hand_over`] gave.
///
/// # Safety
/// `result` is NULL, or came from [`hand_over`] with the same type and wasn't freed.
pub(crate) unsafe fn free<H>(result: *mut H) {
    // SAFETY: the caller's promise; the head is the first field of a boxed `Owned`.
    unsafe { crate::free(result.cast::<Owned<H>>()) }
}

/// A string for C, with a space for each NUL inside, at which it would end.
pub(crate) fn in_c(text: &str) -> CString {
    CString::new(text.replace('\0', " ")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{rq_label, rq_label_list};
    use std::ffi::CStr;

    /// What C does with a list. Miri looks at each access: `fuzz/sanitize` runs this under it.
    #[test]
    fn a_list_is_read_and_freed() {
        let texts: Vec<String> = (0..20).map(|i| format!("lab\0el {i}")).collect();
        let list = hand_over(|keeper| {
            let label = |text: &String| rq_label {
                label: keeper.string(text),
                index: 0,
                score: 0.5,
            };
            let labels = texts.iter().map(label).collect();
            let (items, len) = keeper.list(labels);
            rq_label_list { items, len }
        });
        // SAFETY: it was handed over, and its strings end with a NUL.
        let read: Vec<String> = unsafe {
            let list = &*list;
            let labels = std::slice::from_raw_parts(list.items, list.len);
            let texts = labels.iter().map(|l| CStr::from_ptr(l.label.data).to_str());
            texts.map(|text| text.unwrap().to_owned()).collect()
        };
        let expected: Vec<String> = texts.iter().map(|text| text.replace('\0', " ")).collect();
        assert_eq!(read, expected);
        // SAFETY: it was handed over with this type.
        unsafe { free(list) };
    }
}
