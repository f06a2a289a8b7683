//! Texts from Arrow, and embeddings to it, through the capsules of Arrow's interface for Python.

#![expect(unsafe_code, reason = "Arrow's C interface is made of pointers")]

use arrow_array::cast::AsArray;
use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{Array, ArrayRef, FixedSizeListArray, Float32Array, NullArray, make_array};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType, Field};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use std::ffi::CStr;
use std::sync::Arc;

const SCHEMA: &CStr = c"arrow_schema";
const ARRAY: &CStr = c"arrow_array";
const STREAM: &CStr = c"arrow_array_stream";

fn raise(error: ArrowError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// The texts of an object that has `__arrow_c_stream__` or `__arrow_c_array__`; `None` for each that is null.
#[pyfunction]
pub(crate) fn texts(object: &Bound<'_, PyAny>) -> PyResult<Vec<Option<String>>> {
    let mut texts = Vec::new();
    for array in import(object)? {
        append(array.as_ref(), &mut texts)?;
    }
    Ok(texts)
}

fn append(array: &dyn Array, texts: &mut Vec<Option<String>>) -> PyResult<()> {
    match array.data_type() {
        DataType::Utf8 => texts.extend(array.as_string::<i32>().iter().map(owned)),
        DataType::LargeUtf8 => texts.extend(array.as_string::<i64>().iter().map(owned)),
        DataType::Utf8View => texts.extend(array.as_string_view().iter().map(owned)),
        DataType::Null => texts.extend((0..array.len()).map(|_| None)),
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            let mut values = Vec::new();
            append(dictionary.values().as_ref(), &mut values)?;
            let keys = dictionary.normalized_keys().into_iter().enumerate();
            let key = |(row, key): (usize, usize)| match dictionary.is_null(row) {
                true => None,
                false => values[key].clone(),
            };
            texts.extend(keys.map(key));
        }
        // A table.
        DataType::Struct(fields) => match array.as_struct().columns() {
            [column] => append(column.as_ref(), texts)?,
            columns => {
                let names: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
                return Err(PyTypeError::new_err(format!(
                    "texts are one column, and this is a table of {} ({}): pass the column",
                    columns.len(),
                    names.join(", ")
                )));
            }
        },
        other => {
            return Err(PyTypeError::new_err(format!(
                "texts are a column of strings, and this one is of {other}"
            )));
        }
    }
    Ok(())
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

/// The arrays of an object, checked from end to end.
fn import(object: &Bound<'_, PyAny>) -> PyResult<Vec<ArrayRef>> {
    let mut arrays = Vec::new();
    if object.hasattr("__arrow_c_stream__")? {
        let capsule = object.call_method0("__arrow_c_stream__")?;
        let capsule = capsule.cast_into::<PyCapsule>()?;
        let stream = capsule.pointer_checked(Some(STREAM))?.cast();
        // SAFETY: a capsule of this name holds a stream, which is moved out of it, as the interface asks.
        let mut stream = unsafe { FFI_ArrowArrayStream::from_raw(stream.as_ptr()) };
        let mut schema = FFI_ArrowSchema::empty();
        // SAFETY: the functions of a stream that wasn't released take it, and a place for what they give.
        let code = stream
            .get_schema()
            .map(|get| unsafe { get(&raw mut stream, &raw mut schema) });
        given(&mut stream, code)?;
        loop {
            let mut array = FFI_ArrowArray::empty();
            // SAFETY: as above.
            let code = stream
                .get_next()
                .map(|get| unsafe { get(&raw mut stream, &raw mut array) });
            given(&mut stream, code)?;
            if array.is_released() {
                return Ok(arrays);
            }
            arrays.push(checked(array, &schema)?);
        }
    }
    let capsules = object.call_method0("__arrow_c_array__")?;
    let (schema, array): (Bound<'_, PyCapsule>, Bound<'_, PyCapsule>) = capsules.extract()?;
    let schema = schema.pointer_checked(Some(SCHEMA))?.cast();
    let array = array.pointer_checked(Some(ARRAY))?.cast();
    // SAFETY: capsules of these names hold a schema and an array of it, which are moved out of them.
    let (schema, array) = unsafe {
        (
            FFI_ArrowSchema::from_raw(schema.as_ptr()),
            FFI_ArrowArray::from_raw(array.as_ptr()),
        )
    };
    arrays.push(checked(array, &schema)?);
    Ok(arrays)
}

/// Fails with a stream's own words.
fn given(stream: &mut FFI_ArrowArrayStream, code: Option<i32>) -> PyResult<()> {
    let Some(code) = code else {
        return Err(PyValueError::new_err("the Arrow stream was read before"));
    };
    if code == 0 {
        return Ok(());
    }
    let text = match stream.get_last_error() {
        // SAFETY: it takes the stream, and gives a string that lives until the next call, or null.
        Some(get) => unsafe { get(std::ptr::from_mut(stream)) },
        None => std::ptr::null(),
    };
    let text = match text.is_null() {
        true => format!("error {code}"),
        // SAFETY: as above.
        false => unsafe { CStr::from_ptr(text) }
            .to_string_lossy()
            .into_owned(),
    };
    Err(PyValueError::new_err(format!(
        "the Arrow stream fails: {text}"
    )))
}

fn checked(array: FFI_ArrowArray, schema: &FFI_ArrowSchema) -> PyResult<ArrayRef> {
    if DataType::try_from(schema).map_err(raise)? == DataType::Null {
        // Some producers give it a buffer, which the crate doesn't expect.
        return Ok(Arc::new(NullArray::new(array.len())));
    }
    // SAFETY: both come from one producer, for each other.
    let data = unsafe { from_ffi(array, schema) }.map_err(raise)?;
    data.validate_full().map_err(raise)?;
    Ok(make_array(data))
}

/// Embeddings in Arrow: a fixed-size list of floats for each text, null where the text was.
#[pyclass(frozen, module = "rq_runtime._native")]
pub(crate) struct Embeddings(FixedSizeListArray);

impl Embeddings {
    /// Of one vector after another, with zeros for texts that are null.
    pub(crate) fn new(values: Vec<f32>, dimension: usize, valid: Vec<bool>) -> PyResult<Self> {
        let size = i32::try_from(dimension).map_err(|_| PyValueError::new_err("too wide"))?;
        let field = Arc::new(Field::new_list_field(DataType::Float32, false));
        let nulls = Some(NullBuffer::from(valid)).filter(|nulls| nulls.null_count() > 0);
        let values = Arc::new(Float32Array::from(values));
        let list = FixedSizeListArray::try_new(field, size, values, nulls).map_err(raise)?;
        Ok(Self(list))
    }
}

#[pymethods]
impl Embeddings {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.0.data_type()).map_err(raise)?;
        PyCapsule::new_with_value(py, schema, SCHEMA)
    }

    /// `requested_schema` is a wish, and there is one type only.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_array__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyCapsule>, Bound<'py, PyCapsule>)> {
        let _ = requested_schema;
        let array = FFI_ArrowArray::new(&self.0.to_data());
        let array = PyCapsule::new_with_value(py, array, ARRAY)?;
        Ok((self.__arrow_c_schema__(py)?, array))
    }
}
