//! Lists that a task answers with: owned by rq, read by the caller, and freed as a whole.

use crate::rq_string;
use std::ffi::CString;

/// What a call gives: a list for the caller, and what its strings point to.
///
/// The caller gets a pointer to `head`, and gives it back to be freed. It is the first field, so that both are one address.
#[repr(C)]
pub(super) struct Owned<H, T> {
    head: H,
    /// Keeps what `head` points to.
    items: Box<[T]>,
    /// Keeps what the items' strings point to.
    strings: Vec<CString>,
}

/// Strings that are kept for the items of a list.
#[derive(Default)]
pub(super) struct Strings(Vec<CString>);

impl Strings {
    /// Keeps a string. One with a NUL inside is shown with spaces instead: such a string would end early in C.
    pub(super) fn keep(&mut self, text: &str) -> rq_string {
        let owned = CString::new(text)
            .unwrap_or_else(|_| CString::new(text.replace('\0', " ")).unwrap_or_default());
        // What it points to is on the heap, and stays there when the list of strings grows.
        let string = rq_string::of(&owned);
        self.0.push(owned);
        string
    }
}

/// Hands a list to the caller: an item is made of each answer, and `head` of where the items are, and how many.
pub(super) fn hand_over<A, H, T>(
    answers: impl IntoIterator<Item = A>,
    mut item: impl FnMut(A, &mut Strings) -> T,
    head: impl FnOnce(*const T, usize) -> H,
) -> *mut H {
    let mut strings = Strings::default();
    let answers = answers.into_iter();
    let items: Box<[T]> = answers.map(|answer| item(answer, &mut strings)).collect();
    let owned = Box::new(Owned {
        head: head(items.as_ptr(), items.len()),
        items,
        strings: strings.0,
    });
    Box::into_raw(owned).cast()
}

/// Frees what [`hand_over`] gave.
///
/// # Safety
/// `list` is NULL, or came from [`hand_over`] with the same types and wasn't freed.
pub(crate) unsafe fn free<H, T>(list: *mut H) {
    // SAFETY: the caller's promise; the head is the first field of a boxed `Owned`.
    unsafe { crate::free(list.cast::<Owned<H, T>>()) }
}
