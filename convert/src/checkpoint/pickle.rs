//! The pickles in a file that `torch.save` wrote, as far as weights need them: a dictionary of tensors; in the format from
//! before torch 1.6 also what the machine was like, and the order of the storages.
//!
//! A pickle is a program for a stack machine, and Python's own reader lets it call whatever it names. This one isn't
//! an interpreter of that machine: it knows the instructions of protocol 2 that torch writes, and the few names that
//! describe tensors. The names stand for values of this module; nothing is ever imported or called. All else is an
//! error, in particular any other name.
//!
//! Values refer to each other by number, in tables that only grow. So a value that contains itself, or is nested a
//! million deep, costs no more than its bytes; whatever isn't a tensor at the top is refused in the end.
//!
//! The instructions: <https://github.com/python/cpython/blob/3.13/Lib/pickletools.py>. What torch writes:
//! <https://github.com/pytorch/pytorch/blob/v2.8.0/torch/serialization.py>, `_save` there and `_rebuild_tensor_v2` in
//! `torch/_utils.py`.

use safetensors::tensor::Dtype;
use std::collections::BTreeMap;

/// The most bytes of a pickle: RoBERTa-large's has 60 thousand.
pub(crate) const MAX_PICKLE_LEN: usize = 4 << 20;
/// The most values on the stack.
const MAX_STACK: usize = 1 << 16;
/// The most values that are remembered.
const MAX_MEMO: usize = 1 << 20;
/// The most bytes of a string.
const MAX_TEXT: usize = 4096;
/// The most tensors.
const MAX_TENSORS: usize = 1 << 14;
/// The most dimensions of a tensor.
const MAX_RANK: usize = 8;

/// Why a pickle isn't read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PickleError {
    /// It names something that isn't part of a tensor's description.
    #[error(
        "its pickle names `{module}.{name}`, which weights don't need; it is refused for safety; a file that you trust can be saved again as safetensors"
    )]
    Global {
        /// The Python module.
        module: String,
        /// The name in it.
        name: String,
    },
    /// It has an instruction that torch doesn't write for weights.
    #[error(
        "its pickle has the instruction {name} (0x{code:02x}) at byte {at}, which weights don't need; it is refused for safety; a file that you trust can be saved again as safetensors"
    )]
    Opcode {
        /// The instruction.
        code: u8,
        /// Its name in Python's `pickletools`, if it is one.
        name: &'static str,
        /// Where it is.
        at: usize,
    },
    /// It is in another version of the format.
    #[error("its pickle isn't in protocol 2, in which torch writes; save it again as safetensors")]
    Protocol,
    /// It ends in an instruction, or before the last.
    #[error("its pickle ends early")]
    Truncated,
    /// Something follows the last instruction.
    #[error("{bytes} bytes follow the end of its pickle")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// An instruction needs more values than there are.
    #[error("the instruction at byte {at} of its pickle takes a value from an empty stack")]
    Stack {
        /// Where the instruction is.
        at: usize,
    },
    /// The last instruction leaves more than one value.
    #[error("its pickle leaves {values} values behind instead of one")]
    Leftover {
        /// How many.
        values: usize,
    },
    /// A value is taken from where none was stored.
    #[error(
        "the instruction at byte {at} of its pickle takes the value {index}, which was never stored"
    )]
    Memo {
        /// Where the instruction is.
        at: usize,
        /// The number of the value.
        index: usize,
    },
    /// An instruction has values that it can't have.
    #[error("the instruction at byte {at} of its pickle needs {expected}")]
    Value {
        /// Where the instruction is.
        at: usize,
        /// What it needs.
        expected: &'static str,
    },
    /// There is more of something than is read.
    #[error("its pickle has more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The value at the top isn't a dictionary.
    #[error("it holds no dictionary of tensors")]
    NotDictionary,
    /// The dictionary has something else than a tensor.
    #[error(
        "its entry `{name}` isn't a tensor: it is not the weights alone, as `save_pretrained` saves them"
    )]
    NotTensor {
        /// The entry.
        name: String,
    },
    /// Two tensors have one name.
    #[error("it has two tensors `{name}`")]
    Duplicate {
        /// The name.
        name: String,
    },
}

/// A tensor as the pickle describes it: a view of a storage. Nothing is checked against the storage yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) dtype: Dtype,
    /// The storage's file is `data/` and this.
    pub(crate) storage: String,
    /// The storage's length in elements.
    pub(crate) storage_len: usize,
    /// The first element's place in the storage.
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    /// Elements from one to the next, in each dimension.
    pub(crate) strides: Vec<usize>,
}

/// Reads the tensors of a state dictionary, by name. The pickle is all of the bytes.
pub(crate) fn read(bytes: &[u8]) -> Result<BTreeMap<String, View>, PickleError> {
    if bytes.len() > MAX_PICKLE_LEN {
        return Err(too_many("bytes", MAX_PICKLE_LEN));
    }
    let mut machine = Machine::new(bytes);
    let root = machine.run()?;
    if machine.at < bytes.len() {
        let bytes = bytes.len() - machine.at;
        return Err(PickleError::Trailing { bytes });
    }
    machine.state_dictionary(root)
}

/// What the pickles at the beginning of a file from before torch 1.6 say.
pub(crate) struct Legacy {
    pub(crate) tensors: BTreeMap<String, View>,
    pub(crate) little_endian: bool,
    /// The storages in the order in which they follow, each with the type of its elements.
    pub(crate) storages: Vec<(String, Dtype)>,
    /// Where the last pickle ends.
    pub(crate) len: usize,
}

/// Reads three pickles, one behind the other: the machine, the state dictionary, the storages' names.
pub(crate) fn read_legacy(bytes: &[u8]) -> Result<Legacy, PickleError> {
    let bytes = &bytes[..bytes.len().min(MAX_PICKLE_LEN)];
    let mut machine = Machine::new(bytes);
    let first = machine.run()?;
    let little_endian = machine.is_little_endian(first)?;

    let mut machine = machine.next();
    let root = machine.run()?;
    let tensors = machine.state_dictionary(root)?;
    let storages = std::mem::take(&mut machine.storages);

    let mut machine = machine.next();
    let keys = machine.run()?;
    let types: BTreeMap<&str, Dtype> = storages.iter().map(|s| (s.key, s.dtype)).collect();
    let named = |key: &Value<'_>| match key {
        Value::Text(key) => Some(((*key).to_owned(), *types.get(key)?)),
        _ => None,
    };
    let storages = match keys {
        Value::List(list) => machine.lists[list].iter().map(named).collect(),
        _ => None,
    };
    Ok(Legacy {
        tensors,
        little_endian,
        storages: storages.ok_or_else(|| machine.needs("the names of the storages"))?,
        len: machine.at,
    })
}

/// What a pickle may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

impl Global {
    fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            // Bytes of no type, as torch reads them.
            ("torch" | "torch.storage", "UntypedStorage") => Self::Storage(Dtype::U8),
            ("torch", storage) => Self::Storage(match storage {
                "DoubleStorage" => Dtype::F64,
                "FloatStorage" => Dtype::F32,
                "HalfStorage" => Dtype::F16,
                "BFloat16Storage" => Dtype::BF16,
                "LongStorage" => Dtype::I64,
                "IntStorage" => Dtype::I32,
                "ShortStorage" => Dtype::I16,
                "CharStorage" => Dtype::I8,
                "ByteStorage" => Dtype::U8,
                "BoolStorage" => Dtype::BOOL,
                _ => return None,
            }),
            _ => return None,
        })
    }
}

/// A value; numbers are places in the machine's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'a> {
    None,
    Bool(bool),
    Int(i64),
    Float,
    Text(&'a str),
    Global(Global),
    Tuple(usize),
    Dict(usize),
    List(usize),
    Storage(usize),
    Tensor(usize),
}

/// A storage as the pickle names it.
#[derive(Clone, Copy, Debug)]
struct Storage<'a> {
    dtype: Dtype,
    key: &'a str,
    len: usize,
}

struct Machine<'a> {
    bytes: &'a [u8],
    /// The next byte.
    at: usize,
    /// Where the instruction began that is carried out.
    opcode_at: usize,
    stack: Vec<Value<'a>>,
    /// Lengths of the stack.
    marks: Vec<usize>,
    memo: BTreeMap<usize, Value<'a>>,
    tuples: Vec<Vec<Value<'a>>>,
    dicts: Vec<Vec<(Value<'a>, Value<'a>)>>,
    lists: Vec<Vec<Value<'a>>>,
    storages: Vec<Storage<'a>>,
    tensors: Vec<View>,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            opcode_at: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: BTreeMap::new(),
            tuples: Vec::new(),
            dicts: Vec::new(),
            lists: Vec::new(),
            storages: Vec::new(),
            tensors: Vec::new(),
        }
    }

    /// Another, for the pickle that follows this one.
    fn next(&self) -> Self {
        Self {
            at: self.at,
            ..Self::new(self.bytes)
        }
    }

    /// Runs a pickle to its end, and gives the value that it leaves.
    fn run(&mut self) -> Result<Value<'a>, PickleError> {
        let start = &self.bytes[self.at..];
        if start.is_empty() {
            return Err(PickleError::Truncated);
        }
        if !start.starts_with(&[opcode::PROTO, 2]) {
            return Err(PickleError::Protocol);
        }
        self.at += 2;
        loop {
            self.opcode_at = self.at;
            let [code] = self.take()?;
            match code {
                opcode::STOP => break,
                opcode::GLOBAL => self.global()?,
                opcode::MARK => self.mark()?,

                opcode::NONE => self.push(Value::None)?,
                opcode::NEWTRUE | opcode::NEWFALSE => {
                    self.push(Value::Bool(code == opcode::NEWTRUE))?;
                }
                opcode::BININT => {
                    let value = i32::from_le_bytes(self.take()?);
                    self.push(Value::Int(value.into()))?;
                }
                opcode::BININT1 => {
                    let [value] = self.take()?;
                    self.push(Value::Int(value.into()))?;
                }
                opcode::BININT2 => {
                    let value = u16::from_le_bytes(self.take()?);
                    self.push(Value::Int(value.into()))?;
                }
                opcode::LONG1 => self.long()?,
                opcode::BINFLOAT => {
                    self.take::<8>()?;
                    self.push(Value::Float)?;
                }
                opcode::BINUNICODE => {
                    let length = u32::from_le_bytes(self.take()?) as usize;
                    if length > MAX_TEXT {
                        return Err(too_many("bytes in a string", MAX_TEXT));
                    }
                    let text = str::from_utf8(self.slice(length)?);
                    let text = text.map_err(|_| self.needs("text in UTF-8"))?;
                    self.push(Value::Text(text))?;
                }

                opcode::EMPTY_TUPLE => self.tuple(0)?,
                opcode::TUPLE1 => self.tuple(1)?,
                opcode::TUPLE2 => self.tuple(2)?,
                opcode::TUPLE3 => self.tuple(3)?,
                opcode::TUPLE => {
                    let values = self.pop_mark()?;
                    self.push_tuple(values)?;
                }
                opcode::EMPTY_LIST => {
                    self.lists.push(Vec::new());
                    self.push(Value::List(self.lists.len() - 1))?;
                }
                opcode::APPEND => {
                    let value = self.pop()?;
                    self.append(vec![value])?;
                }
                opcode::APPENDS => {
                    let values = self.pop_mark()?;
                    self.append(values)?;
                }
                opcode::EMPTY_DICT => self.push_dict()?,
                opcode::SETITEM => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set_items(&[key, value])?;
                }
                opcode::SETITEMS => {
                    let values = self.pop_mark()?;
                    self.set_items(&values)?;
                }

                opcode::BINPUT => {
                    let [index] = self.take()?;
                    self.put(index.into())?;
                }
                opcode::LONG_BINPUT => {
                    let index = u32::from_le_bytes(self.take()?);
                    self.put(index as usize)?;
                }
                opcode::BINGET => {
                    let [index] = self.take()?;
                    self.get(index.into())?;
                }
                opcode::LONG_BINGET => {
                    let index = u32::from_le_bytes(self.take()?);
                    self.get(index as usize)?;
                }

                opcode::BINPERSID => self.storage()?,
                opcode::REDUCE => self.reduce()?,
                opcode::BUILD => {
                    // The attribute `_metadata` of a state dictionary: versions of modules, which RoBERTa's don't have.
                    let (state, object) = (self.pop()?, self.top()?);
                    if !matches!((object, state), (Value::Dict(_), Value::Dict(_))) {
                        return Err(self.needs("a dictionary and its attributes"));
                    }
                }
                code => {
                    return Err(PickleError::Opcode {
                        code,
                        name: opcode::name(code),
                        at: self.opcode_at,
                    });
                }
            }
        }
        let value = self.pop()?;
        if !self.stack.is_empty() {
            let values = self.stack.len() + 1;
            return Err(PickleError::Leftover { values });
        }
        Ok(value)
    }

    /// What a dictionary with `little_endian` says of it.
    fn is_little_endian(&self, value: Value<'_>) -> Result<bool, PickleError> {
        let items = match value {
            Value::Dict(dict) => self.dicts[dict].as_slice(),
            _ => &[],
        };
        let entry = items
            .iter()
            .find(|(key, _)| *key == Value::Text("little_endian"));
        match entry {
            Some((_, Value::Bool(little_endian))) => Ok(*little_endian),
            _ => Err(self.needs("the order of the bytes")),
        }
    }

    /// The tensors of a dictionary.
    fn state_dictionary(&self, root: Value<'_>) -> Result<BTreeMap<String, View>, PickleError> {
        let Value::Dict(root) = root else {
            return Err(PickleError::NotDictionary);
        };
        let mut tensors = BTreeMap::new();
        for (key, value) in &self.dicts[root] {
            let name = match key {
                Value::Text(name) => *name,
                Value::Int(number) => {
                    let name = number.to_string();
                    return Err(PickleError::NotTensor { name });
                }
                _ => return Err(PickleError::NotDictionary),
            };
            let Value::Tensor(tensor) = value else {
                return Err(PickleError::NotTensor { name: name.into() });
            };
            let view = self.tensors[*tensor].clone();
            if tensors.insert(name.to_owned(), view).is_some() {
                return Err(PickleError::Duplicate { name: name.into() });
            }
        }
        Ok(tensors)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], PickleError> {
        let bytes = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.get(..length));
        let bytes = bytes.ok_or(PickleError::Truncated)?;
        self.at += length;
        Ok(bytes)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let bytes = self.slice(N)?.first_chunk();
        bytes.copied().ok_or(PickleError::Truncated)
    }

    fn needs(&self, expected: &'static str) -> PickleError {
        let at = self.opcode_at;
        PickleError::Value { at, expected }
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), PickleError> {
        if self.stack.len() == MAX_STACK {
            return Err(too_many("values on its stack", MAX_STACK));
        }
        self.stack.push(value);
        Ok(())
    }

    /// Values above the last mark.
    fn available(&self) -> usize {
        self.stack.len() - self.marks.last().unwrap_or(&0)
    }

    fn pop(&mut self) -> Result<Value<'a>, PickleError> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    fn top(&self) -> Result<Value<'a>, PickleError> {
        match self.stack.last() {
            Some(value) if self.available() > 0 => Ok(*value),
            _ => Err(PickleError::Stack { at: self.opcode_at }),
        }
    }

    fn mark(&mut self) -> Result<(), PickleError> {
        if self.marks.len() == MAX_STACK {
            return Err(too_many("marks on its stack", MAX_STACK));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// Everything above the last mark, which goes as well.
    fn pop_mark(&mut self) -> Result<Vec<Value<'a>>, PickleError> {
        let mark = self.marks.pop();
        let mark = mark.ok_or(PickleError::Stack { at: self.opcode_at })?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, length: usize) -> Result<(), PickleError> {
        if self.available() < length {
            return Err(PickleError::Stack { at: self.opcode_at });
        }
        let values = self.stack.split_off(self.stack.len() - length);
        self.push_tuple(values)
    }

    fn push_tuple(&mut self, values: Vec<Value<'a>>) -> Result<(), PickleError> {
        self.tuples.push(values);
        self.push(Value::Tuple(self.tuples.len() - 1))
    }

    fn push_dict(&mut self) -> Result<(), PickleError> {
        self.dicts.push(Vec::new());
        self.push(Value::Dict(self.dicts.len() - 1))
    }

    /// Adds values to the list on top.
    fn append(&mut self, values: Vec<Value<'a>>) -> Result<(), PickleError> {
        let Value::List(list) = self.top()? else {
            return Err(self.needs("a list"));
        };
        self.lists[list].extend(values);
        Ok(())
    }

    /// Adds keys and values, by turns, to the dictionary on top.
    fn set_items(&mut self, items: &[Value<'a>]) -> Result<(), PickleError> {
        let (Value::Dict(dict), (pairs, [])) = (self.top()?, items.as_chunks::<2>()) else {
            return Err(self.needs("a dictionary, keys and values"));
        };
        self.dicts[dict].extend(pairs.iter().map(|[key, value]| (*key, *value)));
        Ok(())
    }

    fn put(&mut self, index: usize) -> Result<(), PickleError> {
        let value = self.top()?;
        if index >= MAX_MEMO {
            return Err(too_many("stored values", MAX_MEMO));
        }
        self.memo.insert(index, value);
        Ok(())
    }

    fn get(&mut self, index: usize) -> Result<(), PickleError> {
        let at = self.opcode_at;
        let value = self.memo.get(&index).copied();
        self.push(value.ok_or(PickleError::Memo { at, index })?)
    }

    /// A number of up to eight bytes.
    fn long(&mut self) -> Result<(), PickleError> {
        let [length] = self.take()?;
        let bytes = self.slice(length.into())?;
        if bytes.len() > size_of::<i64>() {
            return Err(self.needs("a number of 64 bits"));
        }
        let negative = bytes.last().is_some_and(|last| last >> 7 == 1);
        let mut value = [if negative { 0xff } else { 0 }; size_of::<i64>()];
        value[..bytes.len()].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(value)))
    }

    /// Two lines: a module, and a name in it.
    fn global(&mut self) -> Result<(), PickleError> {
        let (module, name) = (self.line()?, self.line()?);
        let global = Global::find(module, name).ok_or_else(|| PickleError::Global {
            module: module.into(),
            name: name.into(),
        })?;
        self.push(Value::Global(global))
    }

    fn line(&mut self) -> Result<&'a str, PickleError> {
        let rest = &self.bytes[self.at..];
        let window = &rest[..rest.len().min(MAX_TEXT + 1)];
        let Some(length) = window.iter().position(|&byte| byte == b'\n') else {
            return Err(match window.len() > MAX_TEXT {
                true => too_many("bytes in a name", MAX_TEXT),
                false => PickleError::Truncated,
            });
        };
        self.at += length + 1;
        // It is printed, and what is to be printed is one line of text.
        let printable = |line: &&str| !line.contains(char::is_control);
        let line = str::from_utf8(&window[..length]).ok().filter(printable);
        line.ok_or_else(|| self.needs("a name"))
    }

    /// `("storage", type, key, device, length)`; before torch 1.6 with a view of another storage, which is always `None` since 0.4.
    fn storage(&mut self) -> Result<(), PickleError> {
        let values = match self.pop()? {
            Value::Tuple(tuple) => self.tuples[tuple].as_slice(),
            _ => &[],
        };
        let [
            Value::Text("storage"),
            Value::Global(Global::Storage(dtype)),
            Value::Text(key),
            Value::Text(_),
            Value::Int(len),
            ref view @ ..,
        ] = *values
        else {
            return Err(self.needs("the description of a storage"));
        };
        if !matches!(view, [] | [Value::None]) {
            return Err(self.needs("a storage of its own, not a view of another"));
        }
        let len = usize::try_from(len).map_err(|_| self.needs("a length"))?;
        self.storages.push(Storage { dtype, key, len });
        self.push(Value::Storage(self.storages.len() - 1))
    }

    /// What a call would give, of the three that there may be.
    fn reduce(&mut self) -> Result<(), PickleError> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let (Value::Global(callable), Value::Tuple(arguments)) = (callable, arguments) else {
            return Err(self.needs("a name and a tuple"));
        };
        let arguments = self.tuples[arguments].as_slice();
        match (callable, arguments) {
            (Global::OrderedDict, []) => self.push_dict(),
            // The tensor, whether it has a gradient, and hooks for that.
            (Global::RebuildParameter, [tensor @ Value::Tensor(_), Value::Bool(_), hooks])
                if self.is_empty(*hooks) =>
            {
                self.push(*tensor)
            }
            (
                Global::RebuildTensor,
                [
                    Value::Storage(storage),
                    Value::Int(offset),
                    Value::Tuple(shape),
                    Value::Tuple(strides),
                    Value::Bool(_),
                    hooks,
                    // Newer ones: whether the values are to be negated or conjugated.
                    metadata @ ..,
                ],
            ) if self.is_empty(*hooks)
                && metadata.len() <= 1
                && metadata.iter().all(|value| self.is_empty(*value)) =>
            {
                let Storage { dtype, key, len } = self.storages[*storage];
                let offset = usize::try_from(*offset).ok();
                let sizes = self.sizes(*shape).zip(self.sizes(*strides));
                let (Some(offset), Some((shape, strides))) = (offset, sizes) else {
                    return Err(self.needs("the shape of a tensor"));
                };
                if shape.len() != strides.len() {
                    return Err(self.needs("as many strides as dimensions"));
                }
                if self.tensors.len() == MAX_TENSORS {
                    return Err(too_many("tensors", MAX_TENSORS));
                }
                self.tensors.push(View {
                    dtype,
                    storage: key.into(),
                    storage_len: len,
                    offset,
                    shape,
                    strides,
                });
                self.push(Value::Tensor(self.tensors.len() - 1))
            }
            _ => Err(self.needs("the arguments that torch gives")),
        }
    }

    fn is_empty(&self, value: Value<'_>) -> bool {
        match value {
            Value::None => true,
            Value::Dict(dict) => self.dicts[dict].is_empty(),
            _ => false,
        }
    }

    /// A tuple of up to eight lengths.
    fn sizes(&self, tuple: usize) -> Option<Vec<usize>> {
        let values = &self.tuples[tuple];
        let size = |value: &Value<'_>| match value {
            Value::Int(size) => usize::try_from(*size).ok(),
            _ => None,
        };
        (values.len() <= MAX_RANK)
            .then(|| values.iter().map(size).collect())
            .flatten()
    }
}

fn too_many(what: &'static str, limit: usize) -> PickleError {
    PickleError::TooMany { what, limit }
}

/// The instructions.
mod opcode {
    pub(super) const MARK: u8 = b'(';
    pub(super) const EMPTY_TUPLE: u8 = b')';
    pub(super) const STOP: u8 = b'.';
    pub(super) const BINFLOAT: u8 = b'G';
    pub(super) const BININT: u8 = b'J';
    pub(super) const BININT1: u8 = b'K';
    pub(super) const BININT2: u8 = b'M';
    pub(super) const NONE: u8 = b'N';
    pub(super) const BINPERSID: u8 = b'Q';
    pub(super) const REDUCE: u8 = b'R';
    pub(super) const BINUNICODE: u8 = b'X';
    pub(super) const EMPTY_LIST: u8 = b']';
    pub(super) const APPEND: u8 = b'a';
    pub(super) const BUILD: u8 = b'b';
    pub(super) const GLOBAL: u8 = b'c';
    pub(super) const APPENDS: u8 = b'e';
    pub(super) const BINGET: u8 = b'h';
    pub(super) const LONG_BINGET: u8 = b'j';
    pub(super) const BINPUT: u8 = b'q';
    pub(super) const LONG_BINPUT: u8 = b'r';
    pub(super) const SETITEM: u8 = b's';
    pub(super) const TUPLE: u8 = b't';
    pub(super) const SETITEMS: u8 = b'u';
    pub(super) const EMPTY_DICT: u8 = b'}';
    pub(super) const PROTO: u8 = 0x80;
    pub(super) const TUPLE1: u8 = 0x85;
    pub(super) const TUPLE2: u8 = 0x86;
    pub(super) const TUPLE3: u8 = 0x87;
    pub(super) const NEWTRUE: u8 = 0x88;
    pub(super) const NEWFALSE: u8 = 0x89;
    pub(super) const LONG1: u8 = 0x8a;

    /// The name of an instruction that is refused.
    pub(super) fn name(code: u8) -> &'static str {
        match code {
            b'0' => "POP",
            b'1' => "POP_MARK",
            b'2' => "DUP",
            b'B' => "BINBYTES",
            b'C' => "SHORT_BINBYTES",
            b'F' => "FLOAT",
            b'I' => "INT",
            b'L' => "LONG",
            b'P' => "PERSID",
            b'S' => "STRING",
            b'T' => "BINSTRING",
            b'U' => "SHORT_BINSTRING",
            b'V' => "UNICODE",
            b'd' => "DICT",
            b'g' => "GET",
            b'i' => "INST",
            b'l' => "LIST",
            b'o' => "OBJ",
            b'p' => "PUT",
            0x80 => "PROTO",
            0x81 => "NEWOBJ",
            0x82 => "EXT1",
            0x83 => "EXT2",
            0x84 => "EXT4",
            0x8b => "LONG4",
            0x8c => "SHORT_BINUNICODE",
            0x8d => "BINUNICODE8",
            0x8e => "BINBYTES8",
            0x8f => "EMPTY_SET",
            0x90 => "ADDITEMS",
            0x91 => "FROZENSET",
            0x92 => "NEWOBJ_EX",
            0x93 => "STACK_GLOBAL",
            0x94 => "MEMOIZE",
            0x95 => "FRAME",
            0x96 => "BYTEARRAY8",
            0x97 => "NEXT_BUFFER",
            0x98 => "READONLY_BUFFER",
            _ => "of no known name",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A storage of eight floats under the key "0".
    const STORAGE: &[u8] =
        b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x08tQ";
    /// No hooks.
    const HOOKS: &[u8] = b"ccollections\nOrderedDict\n)R";

    /// A whole pickle of what follows the protocol's number.
    fn read_body(parts: &[&[u8]]) -> Result<BTreeMap<String, View>, PickleError> {
        read(&[b"\x80\x02", parts.concat().as_slice()].concat())
    }

    fn refused(parts: &[&[u8]]) -> PickleError {
        read_body(parts).unwrap_err()
    }

    /// A tensor of that storage; arguments from the offset to the strides.
    fn tensor(view: &[u8]) -> Vec<u8> {
        let name = b"ctorch._utils\n_rebuild_tensor_v2\n(";
        [name, STORAGE, view, b"\x89", HOOKS, b"tR"].concat()
    }

    fn text(text: &str) -> Vec<u8> {
        [
            b"X",
            &(text.len() as u32).to_le_bytes()[..],
            text.as_bytes(),
        ]
        .concat()
    }

    #[test]
    fn a_dictionary_of_tensors_is_read() {
        let expected = View {
            dtype: Dtype::F32,
            storage: "0".into(),
            storage_len: 8,
            offset: 1,
            shape: vec![2, 3],
            strides: vec![3, 1],
        };
        let tensor = tensor(b"K\x01K\x02K\x03\x86K\x03K\x01\x86");
        // One at a time and many, in a dict and in an OrderedDict with attributes, remembered and not.
        let one = read_body(&[b"}", &text("a"), &tensor, b"s."]).unwrap();
        assert_eq!(one, [("a".into(), expected.clone())].into());
        let two = read_body(&[
            HOOKS,
            b"q\0(",
            &text("a"),
            &tensor,
            b"q\x01",
            &text("b"),
            b"h\x01u",
            b"}",
            &text("v"),
            b"]K\x01a",
            b"sb.",
        ]);
        assert_eq!(
            two.unwrap(),
            [
                ("a".into(), expected.clone()),
                ("b".into(), expected.clone())
            ]
            .into()
        );
        // A parameter is its tensor.
        let parameter: &[&[u8]] = &[
            b"}",
            &text("a"),
            b"ctorch._utils\n_rebuild_parameter\n(",
            &tensor,
            b"\x88",
            HOOKS,
            b"tRs.",
        ];
        assert_eq!(
            read_body(parameter).unwrap(),
            [("a".into(), expected)].into()
        );
    }

    #[test]
    fn every_name_but_a_few_is_refused() {
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("builtins", "eval"),
            ("torch", "load"),
            ("torch", "ComplexFloatStorage"),
            ("torch._utils", "_rebuild_tensor"),
            ("torch._utils", "_rebuild_tensor_v3"),
            ("collections", "OrderedDict.fromkeys"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("argparse", "Namespace"),
        ] {
            let line = format!("c{module}\n{name}\n");
            let error = refused(&[line.as_bytes(), &text("echo hello"), b"\x85R."]);
            assert_eq!(
                error,
                PickleError::Global {
                    module: module.into(),
                    name: name.into()
                }
            );
            assert_eq!(
                error.to_string(),
                format!(
                    "its pickle names `{module}.{name}`, which weights don't need; it is refused for safety; a file that you trust can be saved again as safetensors"
                )
            );
        }
    }

    #[test]
    fn every_instruction_but_a_few_is_refused() {
        let known = b"()].GJKMNQRX]abcehjqrstu}\x85\x86\x87\x88\x89\x8a";
        for code in (0..=255).filter(|code| !known.contains(code)) {
            let error = refused(&[&[code], b"."]);
            assert!(
                matches!(error, PickleError::Opcode { code: c, at: 2, .. } if c == code),
                "{code} {error}"
            );
        }
        let error = refused(&[b"(ios\nsystem\n."]);
        assert_eq!(
            error.to_string(),
            "its pickle has the instruction INST (0x69) at byte 3, which weights don't need; it is refused for safety; a file that you trust can be saved again as safetensors"
        );
    }

    #[test]
    fn only_protocol_2_is_read() {
        assert_eq!(read(b""), Err(PickleError::Truncated));
        for bytes in [&b"."[..], b"\x80", b"\x80\x04\x95", b"\x80\x03}.", b"}."] {
            assert_eq!(read(bytes), Err(PickleError::Protocol));
        }
    }

    #[test]
    fn the_end_is_the_end() {
        let whole = [&b"\x80\x02}"[..], &text("a"), &tensor(b"K\0))"), b"s."].concat();
        assert!(read(&whole).is_ok());
        for length in 2..whole.len() {
            let error = read(&whole[..length]).unwrap_err();
            assert_eq!(error, PickleError::Truncated, "{length}");
        }
        let more = [&whole[..], b"more"].concat();
        assert_eq!(read(&more), Err(PickleError::Trailing { bytes: 4 }));
        assert_eq!(refused(&[b"}}."]), PickleError::Leftover { values: 2 });
        assert_eq!(read_body(&[b"(}."]).unwrap(), BTreeMap::new());
    }

    #[test]
    fn nothing_is_taken_from_an_empty_stack() {
        for body in [
            ".", "R", "}R", "Q", "s", "}s", "}Ns", "u", "t", "e", "a", "]a", "b", "}b", "q\0",
        ] {
            let error = refused(&[body.as_bytes(), b"."]);
            assert!(
                matches!(error, PickleError::Stack { .. }),
                "{body:?} {error}"
            );
        }
        // Nor from below a mark.
        for body in [&b"N(\x85."[..], b"NN(N\x86.", b"}NN(s.", b"N(."] {
            assert!(
                matches!(refused(&[body]), PickleError::Stack { .. }),
                "{body:?}"
            );
        }
    }

    #[test]
    fn only_what_was_stored_is_taken() {
        assert_eq!(
            refused(&[b"}q\0h\x01."]),
            PickleError::Memo { at: 5, index: 1 }
        );
        assert_eq!(
            refused(&[b"j\xff\xff\xff\xff."]),
            PickleError::Memo {
                at: 2,
                index: u32::MAX as usize
            }
        );
        let error = refused(&[b"}r\0\0\x10\0."]);
        assert_eq!(error, too_many("stored values", MAX_MEMO));
    }

    #[test]
    fn there_are_limits() {
        assert_eq!(
            read(&vec![0; MAX_PICKLE_LEN + 1]),
            Err(too_many("bytes", MAX_PICKLE_LEN))
        );
        let error = refused(&[&vec![b'N'; MAX_STACK + 1]]);
        assert_eq!(error, too_many("values on its stack", MAX_STACK));
        let error = refused(&[&vec![b'('; MAX_STACK + 1]]);
        assert_eq!(error, too_many("marks on its stack", MAX_STACK));
        let error = refused(&[b"X\xff\xff\xff\xff"]);
        assert_eq!(error, too_many("bytes in a string", MAX_TEXT));
        let error = refused(&[b"c", &[b'x'; MAX_TEXT + 1]]);
        assert_eq!(error, too_many("bytes in a name", MAX_TEXT));
        let one = [&tensor(b"K\0))")[..], b"\x85"].concat();
        let error = refused(&[&one.repeat(MAX_TENSORS + 1)]);
        assert_eq!(error, too_many("tensors", MAX_TENSORS));
        // Nested as deep as there are bytes.
        let mut deep = vec![b'N'];
        deep.resize(1 << 20, 0x85);
        assert_eq!(refused(&[&deep, b"."]), PickleError::NotDictionary);
        assert_eq!(
            refused(&[b"}", &text("a"), &deep, b"s."]),
            PickleError::NotTensor { name: "a".into() }
        );
    }

    #[test]
    fn a_value_that_holds_itself_is_no_tensor() {
        let error = refused(&[b"}q\0", &text("me"), b"h\0s."]);
        assert_eq!(error, PickleError::NotTensor { name: "me".into() });
        let error = refused(&[b"}", &text("me"), b"]q\0h\0as."]);
        assert_eq!(error, PickleError::NotTensor { name: "me".into() });
    }

    #[test]
    fn it_is_a_dictionary_of_tensors_by_name() {
        for body in [
            &b"N."[..],
            b").",
            b"].",
            b"K\x01.",
            b"}NNs.",
            b"}G\0\0\0\0\0\0\0\0Ns.",
        ] {
            assert_eq!(refused(&[body]), PickleError::NotDictionary, "{body:?}");
        }
        for value in [
            &b"N"[..],
            b"K\x01",
            b"}",
            b"\x88",
            b"ctorch\nFloatStorage\n",
            STORAGE,
        ] {
            let error = refused(&[b"}", &text("epoch"), value, b"s."]);
            assert_eq!(
                error,
                PickleError::NotTensor {
                    name: "epoch".into()
                }
            );
        }
        let entry = [&text("a")[..], &tensor(b"K\0))")].concat();
        let error = refused(&[b"}(", &entry, &entry, b"u."]);
        assert_eq!(error, PickleError::Duplicate { name: "a".into() });
    }

    #[test]
    fn values_are_what_their_places_need() {
        let tensor_name = b"ctorch._utils\n_rebuild_tensor_v2\n";
        let good = tensor(b"K\0))");
        let bodies: &[&[&[u8]]] = &[
            // Calls of what isn't callable, or with other arguments.
            &[b"N)R."],
            &[STORAGE, b")R."],
            &[tensor_name, b")R."],
            &[tensor_name, b"NR."],
            &[tensor_name, b"(", STORAGE, b"K\0))\x89tR."],
            &[tensor_name, b"(", STORAGE, b"K\0))\x89NNNtR."],
            &[tensor_name, b"(", STORAGE, b"K\0))\x89}K\x01K\x01stR."],
            &[b"ccollections\nOrderedDict\nN\x85R."],
            &[b"ctorch\nFloatStorage\n)R."],
            &[b"ctorch._utils\n_rebuild_parameter\n(N\x88", HOOKS, b"tR."],
            // A conjugated or negated view.
            &[tensor_name, b"(", STORAGE, b"K\0))\x89N}", &text("neg"), b"\x88stR."],
            // Offsets, shapes and strides that are none.
            &[&tensor(b"J\xff\xff\xff\xff))")],
            &[&tensor(b"N))")],
            &[&tensor(b"K\0J\xff\xff\xff\xff\x85K\x01\x85")],
            &[&tensor(b"K\0K\x01\x85J\xff\xff\xff\xff\x85")],
            &[&tensor(b"K\0N\x85K\x01\x85")],
            &[&tensor(b"K\0K\x02\x85)")],
            &[&tensor(b"K\0(K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01t(K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01K\x01t")],
            &[&tensor(b"K\0\x8a\x09\0\0\0\0\0\0\0\0\x01\x85K\x01\x85")],
            // Storages that are none.
            &[b"NQ."],
            &[b")Q."],
            &[&text("0"), b"Q."],
            &[b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuJ\xff\xff\xff\xfftQ."],
            &[b"(X\x07\0\0\0storageccollections\nOrderedDict\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ."],
            &[b"(X\x06\0\0\0modulectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ."],
            // Items of what has none, and a key without a value.
            &[b"NNNs."],
            &[b"}(Nu."],
            &[b")Na."],
            &[b")(Ne."],
            &[&good, b"}b."],
            &[b"}Nb."],
            // Text that is none.
            &[b"X\x01\0\0\0\xff."],
            &[b"cos\x1b[2J\nsystem\n."],
        ];
        for body in bodies {
            let error = refused(body);
            assert!(
                matches!(error, PickleError::Value { .. }),
                "{body:?}: {error}"
            );
        }
    }

    #[test]
    fn numbers_have_their_sizes() {
        let shape = |number: &[u8]| {
            let tensor = tensor(&[b"K\0", number, b"\x85K\x01\x85"].concat());
            read_body(&[b"}", &text("a"), &tensor, b"s."]).unwrap()["a"].shape[0]
        };
        assert_eq!(shape(b"K\xff"), 255);
        assert_eq!(shape(b"M\xff\xff"), 65535);
        assert_eq!(shape(b"J\0\0\0\x40"), 1 << 30);
        assert_eq!(shape(b"\x8a\0"), 0);
        assert_eq!(shape(b"\x8a\x02\xff\0"), 255);
        assert_eq!(
            shape(b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"),
            i64::MAX as usize
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            // Mostly instructions that are known, so that some get far.
            body in prop::collection::vec(
                prop_oneof![prop::sample::select(&b"()]GJKMNQRXabchjqrstu}\x85\x86\x87\x88\x89\x8a."[..]), any::<u8>(), 0_u8..4],
                0..200,
            ),
            parts in prop::collection::vec((0_usize..4, any::<prop::sample::Index>()), 0..8),
        ) {
            let pieces = [STORAGE.to_vec(), HOOKS.to_vec(), tensor(b"K\0))"), text("a")];
            let mut bytes = body;
            for (piece, at) in parts {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, pieces[piece].iter().copied());
            }
            let _ = read_body(&[&bytes, b"."]);
        }

        #[test]
        fn no_change_makes_it_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
            let mut bytes = [&b"\x80\x02"[..], HOOKS, b"q\0("].concat();
            for name in ["a", "b", "c"] {
                bytes.extend([text(name), tensor(b"K\x01K\x02K\x03\x86K\x03K\x01\x86q\x01")].concat());
            }
            bytes.extend(b"u}b.");
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = read(&bytes);
        }
    }
}
