//! What a checkpoint's files say that isn't applied, for the summary of a conversion.

/// Remarks for a person, one a line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Vec<String>);

impl Notes {
    /// Adds a remark, unless it is there.
    pub(crate) fn add(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    /// Names the fields of a file that nobody knows.
    pub(crate) fn account<'a>(
        &mut self,
        file: &str,
        fields: impl IntoIterator<Item = &'a String>,
        is_known: impl Fn(&str) -> bool,
    ) {
        let unknown: Vec<&str> = fields
            .into_iter()
            .map(String::as_str)
            .filter(|field| !is_known(field))
            .collect();
        if !unknown.is_empty() {
            let fields = unknown.join(", ");
            self.add(format!("{file} has {fields}, which rq doesn't know"));
        }
    }

    /// Adds those of another list.
    pub(crate) fn extend(&mut self, other: &Self) {
        for note in &other.0 {
            self.add(note.clone());
        }
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.0
    }
}
