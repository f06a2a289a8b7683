//! What tasks take: texts, pairs of texts and words, borrowed or owned.

use std::borrow::Cow;
use std::ops::Deref;

/// A text. A reference to whatever is `AsRef<str>` becomes one and is borrowed, so that slices of `String`, of `&str` and of
/// `Cow` are texts; a `String` and a `Cow` themselves do, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text<'t>(Cow<'t, str>);

impl<'t, S: AsRef<str> + ?Sized> From<&'t S> for Text<'t> {
    fn from(text: &'t S) -> Self {
        Self(Cow::Borrowed(text.as_ref()))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl<'t> From<Cow<'t, str>> for Text<'t> {
    fn from(text: Cow<'t, str>) -> Self {
        Self(text)
    }
}

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// A text, or a pair of texts that are looked at together: whatever is a [`Text`], or a tuple of two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts<'t> {
    /// The text, or the first of a pair.
    pub text: Text<'t>,
    /// The second of a pair.
    pub pair: Option<Text<'t>>,
}

impl<'t> From<Text<'t>> for Texts<'t> {
    fn from(text: Text<'t>) -> Self {
        Self { text, pair: None }
    }
}

impl<'t, S: AsRef<str> + ?Sized> From<&'t S> for Texts<'t> {
    fn from(text: &'t S) -> Self {
        Text::from(text).into()
    }
}

impl From<String> for Texts<'_> {
    fn from(text: String) -> Self {
        Text::from(text).into()
    }
}

impl<'t> From<Cow<'t, str>> for Texts<'t> {
    fn from(text: Cow<'t, str>) -> Self {
        Text::from(text).into()
    }
}

impl<'t, A: Into<Text<'t>>, B: Into<Text<'t>>> From<(A, B)> for Texts<'t> {
    fn from((text, pair): (A, B)) -> Self {
        Self {
            text: text.into(),
            pair: Some(pair.into()),
        }
    }
}

/// A text that is divided into words: a slice, a vector or an array of whatever is a [`Text`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words<'t>(Vec<Text<'t>>);

impl<'t> Words<'t> {
    fn borrowed<S: AsRef<str>>(words: &'t [S]) -> Self {
        Self(words.iter().map(Text::from).collect())
    }
}

impl<'t, S: AsRef<str>> From<&'t [S]> for Words<'t> {
    fn from(words: &'t [S]) -> Self {
        Self::borrowed(words)
    }
}

impl<'t, S: AsRef<str>> From<&'t Vec<S>> for Words<'t> {
    fn from(words: &'t Vec<S>) -> Self {
        Self::borrowed(words)
    }
}

impl<'t, S: AsRef<str>, const N: usize> From<&'t [S; N]> for Words<'t> {
    fn from(words: &'t [S; N]) -> Self {
        Self::borrowed(words)
    }
}

impl<'t, T: Into<Text<'t>>> From<Vec<T>> for Words<'t> {
    fn from(words: Vec<T>) -> Self {
        Self(words.into_iter().map(Into::into).collect())
    }
}

impl<'t, T: Into<Text<'t>>, const N: usize> From<[T; N]> for Words<'t> {
    fn from(words: [T; N]) -> Self {
        Self(words.into_iter().map(Into::into).collect())
    }
}

impl<'t> Deref for Words<'t> {
    type Target = [Text<'t>];

    fn deref(&self) -> &[Text<'t>] {
        &self.0
    }
}
