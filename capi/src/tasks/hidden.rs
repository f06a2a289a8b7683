//! Hidden states in C.

use super::fill_room;
use crate::session::with_session;
use crate::{optional_out, room, rq_session, rq_status, string};
use rq::{Batch, Error, Rows};
use std::ffi::c_char;
use std::mem::MaybeUninit;

/// The tokens of a text, special ones included, and the last hidden states of each: `tokens` x `rq_model_hidden_size` floats,
/// token after token.
///
/// @param ids       NULL, or room for `capacity / rq_model_hidden_size` ids, where the tokens' ids go.
/// @param out       Room for `capacity` floats; NULL with a capacity of 0 asks for the length.
/// @param tokens    NULL, or where the number of tokens goes, also when `out` is too small (`RQ_BUFFER`).
///
/// # Safety
/// The pointers are NULL or point to what the parameters say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rq_hidden_states(
    session: *mut rq_session,
    text: *const c_char,
    text_len: usize,
    ids: *mut u32,
    out: *mut f32,
    capacity: usize,
    tokens: *mut usize,
) -> rq_status {
    // SAFETY: the caller's promises: `ids` has room for the tokens that `out` has room for.
    let (session, text, ids, out, tokens) = unsafe {
        let session = session.as_ref();
        let most = session.map_or(0, |session| capacity / session.hidden_size);
        let ids = match ids.is_null() {
            true => Ok(None),
            false => room(ids, most, "ids").map(Some),
        };
        (
            session,
            string(text, text_len, "text"),
            ids,
            room(out, capacity, "out"),
            optional_out(tokens),
        )
    };
    with_session(session, |session| {
        let encoding = session.model().tokenizer().encode(text?, false);
        let encoding = encoding.map_err(Error::from)?;
        let count = encoding.ids.len();
        if count == 0 {
            return Err(Error::NoTokens.into());
        }
        let needed = count * session.model().config().hidden_size;
        let ids = ids?;
        let compute = |out: &mut [MaybeUninit<f32>]| {
            let hidden = session.hidden_states(&Batch::from_iter([&encoding.ids]), Rows::All)?;
            out.write_copy_of_slice(&hidden);
            if let Some(ids) = ids {
                ids[..count].write_copy_of_slice(&encoding.ids);
            }
            Ok(())
        };
        fill_room(out, capacity, needed, (tokens, count), compute)
    })
}
