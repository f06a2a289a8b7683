//! Lists that a task answers with: owned by rq, read by the caller, and freed as a whole.

use crate::rq_string;

/// What a call gives: a list for the caller, and what its strings point to.
///
/// The caller gets a pointer to `head`, and gives it back to be freed. It is the first field, so that both are one address.
#[repr(C)]
pub(super) struct Owned<H, T> {
    head: H,
    /// Keeps what `head` points to. A `Vec`, since to move a `Box` would claim what is in it, and end the head's right to it.
    items: Vec<T>,
    /// Keeps what the items' strings point to, each with a NUL behind it; not `CString`, which has a `Box`.
    strings: Vec<Vec<u8>>,
}

/// Strings that are kept for the items of a list.
#[derive(Default)]
pub(super) struct Strings(Vec<Vec<u8>>);

impl Strings {
    /// Keeps a string. One with a NUL inside is shown with spaces instead: such a string would end early in C.
    pub(super) fn keep(&mut self, text: &str) -> rq_string {
        let mut owned = text.replace('\0', " ").into_bytes();
        owned.push(0);
        // On the heap, where it stays when the list of strings grows.
        let string = rq_string {
            data: owned.as_ptr().cast(),
            len: text.len(),
        };
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
    let items: Vec<T> = answers.map(|answer| item(answer, &mut strings)).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rq_label;
    use std::ffi::CStr;

    struct List {
        items: *const rq_label,
        len: usize,
    }

    /// What C does with a list. Miri looks at each access: `fuzz/sanitize` runs this under it.
    #[test]
    fn a_list_is_read_and_freed() {
        let texts: Vec<String> = (0..20).map(|i| format!("lab\0el {i}")).collect();
        let item = |text: &String, strings: &mut Strings| rq_label {
            label: strings.keep(text),
            index: 0,
            score: 0.5,
        };
        let list = hand_over(&texts, item, |items, len| List { items, len });
        // SAFETY: it was handed over, and its strings end with a NUL.
        let read: Vec<String> = unsafe {
            let list = &*list;
            let labels = std::slice::from_raw_parts(list.items, list.len);
            let texts = labels.iter().map(|l| CStr::from_ptr(l.label.data).to_str());
            texts.map(|text| text.unwrap().to_owned()).collect()
        };
        let expected: Vec<String> = texts.iter().map(|text| text.replace('\0', " ")).collect();
        assert_eq!(read, expected);
        // SAFETY: it was handed over with these types.
        unsafe { free::<_, rq_label>(list) };
    }
}
