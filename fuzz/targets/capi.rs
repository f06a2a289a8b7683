//! A program of calls of the C interface, with arguments that it must check: NULL, lengths, strings that aren't UTF-8, options
//! far out of range, frees in any order. What C can't check (dangling pointers, lengths beyond a buffer) is never done.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rq_capi::*;
use rq_fuzz::checkpoint;
use rq_fuzz::file::{Parts, seal};
use rq_fuzz::input::Input;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::ptr::{null, null_mut};
use std::sync::LazyLock;

/// Things of each kind that live at once.
const SLOTS: usize = 4;

/// A model file in memory that begins at a multiple of 64, and on disk.
struct Base {
    bytes: Aligned,
    file: tempfile::NamedTempFile,
}

/// Bytes behind a gap, so that they begin at a multiple of 64, or one byte behind it.
struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn new(file: &[u8], shift: usize) -> Self {
        let mut bytes = vec![0; file.len() + 128];
        let start = bytes.as_ptr().align_offset(64) + shift;
        bytes[start..start + file.len()].copy_from_slice(file);
        let len = file.len();
        Self { bytes, start, len }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

static BASES: LazyLock<Vec<Base>> = LazyLock::new(|| {
    let goldens = ["bert-mlm", "camembert-tagger"].map(checkpoint::golden);
    let goldens = goldens.iter().map(|path| checkpoint::converted(path));
    let files = std::iter::once(checkpoint::small_file()).chain(goldens);
    files
        .map(|bytes| {
            let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
            file.write_all(&bytes).expect("room for it");
            Base {
                bytes: Aligned::new(&bytes, 0),
                file,
            }
        })
        .collect()
});

/// Everything that the program owns. Models and sessions go first, then the bytes that models use in place.
struct World {
    models: [*mut rq_model; SLOTS],
    sessions: [*mut rq_session; SLOTS],
    lists: [*mut rq_fill_list; SLOTS],
    memory: Vec<Aligned>,
}

impl Drop for World {
    fn drop(&mut self) {
        // SAFETY: each is NULL or wasn't freed.
        unsafe {
            self.models.iter().for_each(|m| rq_model_free(*m));
            self.lists.iter().for_each(|l| rq_fill_list_free(*l));
            self.sessions.iter().for_each(|s| rq_session_free(*s));
        }
    }
}

/// A string as a call takes it: pointer and length.
fn string(bytes: &[u8], kind: u8) -> (*const std::ffi::c_char, usize) {
    match kind % 16 {
        0 => (null(), bytes.len()),
        1 => (null(), 0),
        // Refused by the length alone.
        2 => (bytes.as_ptr().cast(), usize::MAX),
        3 => (bytes.as_ptr().cast(), isize::MAX as usize + 1),
        4 => (bytes.as_ptr().cast(), 0),
        _ => (bytes.as_ptr().cast(), bytes.len()),
    }
}

/// Options of a program that was compiled for some version of the structure: as many bytes as its size says, or a size that is
/// none.
#[repr(C)]
struct Versioned<T> {
    options: T,
    rest: [u64; 4],
}

impl<T: Copy> Versioned<T> {
    fn new(input: &mut Input<'_>, options: T) -> Self {
        let own = size_of::<T>();
        let kind = input.byte();
        let rest = [0, u64::from(kind >> 7), 0, u64::from(kind >> 6)];
        let mut versioned = Self { options, rest };
        let size = match kind % 16 {
            0 => 0,
            1 => size_of::<usize>(),
            2 => own + 8,
            3 => own + 32,
            4 => own - 8,
            5 => own + 1,
            6 => usize::MAX - 7,
            _ => own,
        };
        // SAFETY: every structure of options begins with its size.
        unsafe { (&raw mut versioned.options).cast::<usize>().write(size) };
        versioned
    }

    fn pointer(&self) -> *const T {
        std::ptr::from_ref(self).cast()
    }
}

/// Reads every byte of a string.
unsafe fn read(string: rq_string) {
    // SAFETY: it lives.
    unsafe {
        let bytes = std::slice::from_raw_parts(string.data.cast::<u8>(), string.len + 1);
        assert_eq!(bytes[string.len], 0);
        assert!(std::str::from_utf8(bytes).is_ok());
    }
}

/// The items of a list.
unsafe fn items<'a, T>(items: *const T, len: usize) -> &'a [T] {
    match len {
        0 => &[],
        // SAFETY: the list lives.
        _ => unsafe { std::slice::from_raw_parts(items, len) },
    }
}

/// A batch of each task: a result for each text, all of which can be read and freed.
unsafe fn batch(session: *mut rq_session, input: &mut Input<'_>) {
    let strings: Vec<(Vec<u8>, u8)> = (0..input.below(5))
        .map(|_| ([b"<mask>", input.string()].concat(), input.byte()))
        .collect();
    let text = |(bytes, kind): &(Vec<u8>, u8)| {
        let (data, len) = string(bytes, *kind);
        rq_text { data, len }
    };
    let texts: Vec<rq_text> = strings.iter().map(text).collect();
    let (data, count) = (texts.as_ptr(), texts.len());
    let flags = input.byte();
    macro_rules! call {
        ($call:ident, $free:ident, $options:expr, $result:ident => $read:expr, $($argument:expr),*) => {{
            let options = Versioned::new(input, $options);
            let mut place = null_mut();
            let status = $call(session, $($argument,)* options.pointer(), &raw mut place);
            assert_eq!(status == rq_status::RQ_OK, !place.is_null());
            assert_ne!(status, rq_status::RQ_PANIC);
            if let Some(results) = place.as_ref() {
                assert_eq!(results.len, count);
                for $result in items(results.items, results.len) {
                    read($result.message);
                    assert_ne!($result.status, rq_status::RQ_PANIC);
                    assert_eq!($result.status == rq_status::RQ_OK, $result.message.len == 0);
                    $read;
                }
            }
            $free(place);
        }};
    }
    // SAFETY: every pointer is NULL or points to what lives, for as long as the interface asks.
    unsafe {
        match flags % 7 {
            0 => {
                let options = rq_fill_options {
                    size: 0,
                    top_k: size(input),
                    truncate: flags >> 7,
                };
                call!(rq_fill_batch, rq_fill_results_free, options, result => {
                    for token in items(result.answer.items, result.answer.len) {
                        read(token.token_str);
                        read(token.sequence);
                    }
                }, data, count);
            }
            1 => {
                let options = rq_embed_options {
                    size: 0,
                    pooling: i32::from(flags >> 4) - 1,
                    normalize: i32::from(input.byte() % 5) - 1,
                    dimension: input.below(20),
                    prompt: null(),
                    prompt_text: if flags & 8 == 0 {
                        null()
                    } else {
                        c"a ".as_ptr()
                    },
                    truncate: flags >> 7,
                };
                call!(rq_embed_batch, rq_embedding_results_free, options, result => {
                    assert!(items(result.values, result.len).iter().all(|x| x.is_finite()));
                }, data, count);
            }
            2 => {
                let options = rq_score_options {
                    size: 0,
                    method: i32::from(flags >> 4 & 3) - 1,
                    truncate: flags >> 7,
                };
                call!(rq_score_batch, rq_score_results_free, options, result => {
                    for token in items(result.answer.items, result.answer.len) {
                        read(token.token_str);
                    }
                }, data, count);
            }
            3 => {
                let options = rq_tag_options {
                    size: 0,
                    aggregation: i32::from(flags >> 4) - 1,
                };
                call!(rq_tag_batch, rq_entity_results_free, options, result => {
                    for entity in items(result.answer.items, result.answer.len) {
                        read(entity.label);
                        read(entity.word);
                        assert!(entity.start <= entity.end);
                    }
                }, data, count);
            }
            kind => {
                macro_rules! labels {
                    ($call:ident, $options:expr, $($argument:expr),*) => {
                        call!($call, rq_label_results_free, $options, result => {
                            for label in items(result.answer.items, result.answer.len) {
                                read(label.label);
                            }
                        }, $($argument),*)
                    };
                }
                if kind == 4 {
                    let options = rq_classify_options {
                        size: 0,
                        top_k: size(input),
                        function: i32::from(flags >> 4) - 1,
                        truncate: flags >> 7,
                    };
                    let pairs = if flags & 8 == 0 { null() } else { data };
                    labels!(rq_classify_batch, options, data, pairs, count);
                } else if kind == 5 {
                    let options = rq_zero_shot_options {
                        size: 0,
                        hypothesis_template: if flags & 8 == 0 {
                            null()
                        } else {
                            c"{}".as_ptr()
                        },
                        multi_label: flags >> 6,
                        truncate: flags >> 7,
                    };
                    labels!(rq_zero_shot_batch, options, data, count, data, count.min(2));
                } else {
                    let options = rq_answer_options {
                        size: 0,
                        top_k: size(input),
                        max_answer_len: size(input),
                        handle_impossible_answer: flags >> 7,
                    };
                    call!(rq_answer_batch, rq_answer_results_free, options, result => {
                        for span in items(result.answer.items, result.answer.len) {
                            read(span.answer);
                        }
                    }, data, data, count);
                }
            }
        }
    }
}

fn size(input: &mut Input<'_>) -> usize {
    input.number() as usize
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let mut world = World {
        models: [null_mut(); SLOTS],
        sessions: [null_mut(); SLOTS],
        lists: [null_mut(); SLOTS],
        memory: Vec::new(),
    };
    let mut message = rq_message {
        text: [1; RQ_MESSAGE_SIZE],
    };
    for _ in 0..48 {
        let Some(call) = input.take() else { break };
        let (slot, other) = (input.below(SLOTS), input.below(SLOTS));
        let base = &BASES[input.below(BASES.len())];
        let flags = input.byte();
        let message: *mut rq_message = if flags & 1 == 0 {
            &mut message
        } else {
            null_mut()
        };
        // SAFETY: every pointer is NULL or points to what lives, for as long as the interface asks.
        unsafe {
            match call % 25 {
                0 | 1 => {
                    if !world.models[slot].is_null() {
                        continue;
                    }
                    let mut place = null_mut();
                    let out = if flags & 2 == 0 {
                        &raw mut place
                    } else {
                        null_mut()
                    };
                    let status = match flags / 4 % 4 {
                        0 => {
                            let path = base.file.path().to_string_lossy();
                            let (path, len) = string(path.as_bytes(), input.byte());
                            rq_model_open(path, len, message, out)
                        }
                        1 => {
                            let (path, len) = string(input.string(), input.byte());
                            rq_model_open(path, len, message, out)
                        }
                        2 => {
                            // Changed in places; kept, as models may use it in place.
                            let mut parts = Parts::of(base.bytes.get());
                            let mut numbers = Vec::new();
                            parts.change(&mut input, &mut numbers);
                            let mut file = parts.assemble();
                            seal(&mut file);
                            let file = Aligned::new(&file, usize::from(flags >> 7));
                            let start = file.get().as_ptr();
                            let len = file.len;
                            world.memory.push(file);
                            rq_model_from_memory(start, len, message, out)
                        }
                        _ => {
                            let (data, len) = string(base.bytes.get(), input.byte());
                            rq_model_from_memory(data.cast(), len, message, out)
                        }
                    };
                    assert_eq!(status == rq_status::RQ_OK, !place.is_null());
                    assert_ne!(status, rq_status::RQ_PANIC);
                    world.models[slot] = place;
                }
                2 => {
                    let file = File::open(base.file.path()).expect("it is there");
                    let fd = if flags & 2 == 0 { file.as_raw_fd() } else { -1 };
                    let (offset, length) = match flags & 4 {
                        0 => (0, base.bytes.len as u64),
                        _ => (input.number(), input.number()),
                    };
                    let mut place = null_mut();
                    let status = rq_model_open_fd(fd, offset, length, message, &raw mut place);
                    assert_ne!(status, rq_status::RQ_PANIC);
                    rq_model_free(std::mem::replace(&mut world.models[slot], place));
                }
                3 => rq_model_free(std::mem::replace(&mut world.models[slot], null_mut())),
                4 => {
                    let model = world.models[slot];
                    assert!(!rq_model_mask_token(model).data.is_null());
                    let label = rq_model_label(model, size(&mut input));
                    assert_eq!(*label.data.add(label.len), 0);
                    let _ = rq_model_head(model);
                    let _ = rq_model_hidden_size(model) + rq_model_max_tokens(model);
                    let _ = rq_model_label_count(model);
                    rq_model_prefetch(model);
                }
                5 | 6 => {
                    let threads = match flags & 6 {
                        0 => 1 + usize::from(flags >> 7),
                        2 => size(&mut input).max(1025),
                        _ => 1,
                    };
                    let options = rq_session_options { size: 0, threads };
                    let options = Versioned::new(&mut input, options);
                    let options = if flags & 8 == 0 || flags & 6 == 2 {
                        options.pointer()
                    } else {
                        null()
                    };
                    let mut place = null_mut();
                    let out = if flags & 16 == 0 {
                        &raw mut place
                    } else {
                        null_mut()
                    };
                    let status = rq_session_new(world.models[other], options, message, out);
                    assert_eq!(status == rq_status::RQ_OK, !place.is_null());
                    assert_ne!(status, rq_status::RQ_PANIC);
                    rq_session_free(std::mem::replace(&mut world.sessions[slot], place));
                }
                7 => rq_session_free(std::mem::replace(&mut world.sessions[slot], null_mut())),
                8 => {
                    let session = world.sessions[slot];
                    let said = rq_session_message(session);
                    assert_eq!(*said.data.add(said.len), 0);
                    let _ = rq_session_memory(session);
                    // Of a text as long as the model takes.
                    let status = rq_session_reserve(session, size(&mut input));
                    assert_ne!(status, rq_status::RQ_PANIC);
                }
                9 => rq_fill_list_free(std::mem::replace(&mut world.lists[slot], null_mut())),
                10..15 => {
                    let text = [b"a<mask>", input.string(), b"[MASK]"].concat();
                    let text = if flags & 2 == 0 {
                        &text[..]
                    } else {
                        &text[7..]
                    };
                    let (text, len) = string(text, input.byte());
                    let options = rq_fill_options {
                        size: 0,
                        top_k: size(&mut input),
                        truncate: u8::from(flags & 4 == 0),
                    };
                    let options = Versioned::new(&mut input, options);
                    let options = if flags & 8 == 0 {
                        options.pointer()
                    } else {
                        null()
                    };
                    let mut place = null_mut();
                    let out = if flags & 16 == 0 {
                        &raw mut place
                    } else {
                        null_mut()
                    };
                    let status = rq_fill(world.sessions[slot], text, len, options, out);
                    assert_eq!(status == rq_status::RQ_OK, !place.is_null());
                    assert_ne!(status, rq_status::RQ_PANIC);
                    if let Some(list) = place.as_ref() {
                        for at in 0..list.len {
                            let item = &*list.items.add(at);
                            assert!(item.mask < list.masks);
                            assert_eq!(*item.sequence.data.add(item.sequence.len), 0);
                            assert_eq!(*item.token_str.data.add(item.token_str.len), 0);
                        }
                    }
                    rq_fill_list_free(std::mem::replace(&mut world.lists[other], place));
                }
                15..19 => {
                    let (text, len) = string(input.string(), input.byte());
                    let width = rq_model_hidden_size(world.models[other]).max(1);
                    let capacity = input.below(4096);
                    // Exactly as much room as is said, so that a write beyond it is seen.
                    let mut room = vec![0.0_f32; capacity].into_boxed_slice();
                    let out = if flags & 2 == 0 {
                        room.as_mut_ptr()
                    } else {
                        null_mut()
                    };
                    let session = world.sessions[slot];
                    let mut tokens = 0;
                    let tokens_out = if flags & 4 == 0 {
                        &raw mut tokens
                    } else {
                        null_mut()
                    };
                    // The session's model may be another one than `other`; the narrowest of all has 12.
                    let mut ids = vec![0_u32; capacity / width.min(12)].into_boxed_slice();
                    let ids_out = if flags & 8 == 0 {
                        ids.as_mut_ptr()
                    } else {
                        null_mut()
                    };
                    let status =
                        rq_hidden_states(session, text, len, ids_out, out, capacity, tokens_out);
                    assert_ne!(status, rq_status::RQ_PANIC);
                }
                19..23 => batch(world.sessions[slot], &mut input),
                23 => {
                    let model = world.models[slot];
                    let (text, len) = string(input.string(), input.byte());
                    let (pair, pair_len) = string(input.string(), input.byte());
                    let mut count = rq_token_count {
                        tokens: 0,
                        truncated: 0,
                        max: 0,
                    };
                    let place = &raw mut count;
                    let status = rq_count_tokens(model, text, len, pair, pair_len, message, place);
                    assert_ne!(status, rq_status::RQ_PANIC);
                    assert!(count.truncated <= count.max && count.truncated <= count.tokens);
                }
                _ => {
                    assert!(!rq_status_name(i32::from(flags)).is_null());
                    assert_eq!(rq_abi_version(), RQ_ABI_VERSION);
                    assert!(!rq_version().is_null());
                }
            }
        }
    }
});
