//! The blocks of a page of the docs, which tests run.

/// The fenced blocks of a page, in order: what stands behind the fence, and the text.
pub fn blocks(page: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut parts = page.split("\n```").skip(1);
    std::iter::from_fn(move || {
        let (block, _between) = (parts.next()?, parts.next());
        Some(block.split_once('\n').expect("a fence has a first line"))
    })
}

/// Those of one language.
pub fn blocks_of(page: &'static str, language: &str) -> Vec<&'static str> {
    blocks(page).filter(|(behind, _)| *behind == language).map(|(_, text)| text).collect()
}
