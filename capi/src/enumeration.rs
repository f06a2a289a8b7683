//! Enumerations: in C they are numbers, and a caller may pass any.

use crate::{Failure, rq_status};

/// Gives an enumeration of C a `parse`, which takes any number, with the values of Rust that its values stand for.
macro_rules! enumeration {
    ($c:ident, $name:literal, $rust:ty { $($value:ident = [$($meaning:tt)+]),+ $(,)? }) => {
        impl $c {
            /// What a number stands for.
            pub(crate) fn parse(number: i32) -> Result<$rust, $crate::Failure> {
                $(if number == Self::$value as i32 {
                    return Ok($($meaning)+);
                })+
                Err($crate::enumeration::invalid($name, number))
            }
        }
    };
}
pub(crate) use enumeration;

/// A number that isn't a value of the enumeration `name`.
pub(crate) fn invalid(name: &str, number: i32) -> Failure {
    let message = format!("{name} is {number}, an invalid value");
    Failure::new(rq_status::RQ_OPTION, message)
}
