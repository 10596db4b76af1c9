//! What a page says, in one line.

const MAX_CHARS: usize = 120;

/// The text of a page without its markup and styles, cut to one line.
pub fn gist(page: &str) -> String {
    let text = without_tags(&without_element(page, "style"));
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

fn without_element(page: &str, name: &str) -> String {
    let (open, close) = (format!("<{name}"), format!("</{name}>"));
    match (page.find(&open), page.find(&close)) {
        (Some(start), Some(end)) if start < end => {
            format!("{} {}", &page[..start], &page[end + close.len()..])
        }
        _ => page.to_owned(),
    }
}

fn without_tags(page: &str) -> String {
    let mut is_tag = false;
    let kept = page.chars().filter_map(|sign| match sign {
        '<' => {
            is_tag = true;
            None
        }
        '>' if is_tag => {
            is_tag = false;
            Some(' ')
        }
        sign => (!is_tag && !sign.is_control() || sign.is_whitespace()).then_some(sign),
    });
    kept.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_a_line_without_markup() {
        let page = "<!doctype html>\n<style>\n h1 { color: red }</style><h1>Ahoy</h1>\n<p>from <code>web.1</code></p>";
        assert_eq!(gist(page), "Ahoy from web.1");
        assert_eq!(gist("3 > 2\x1b[31m"), "3 > 2[31m", "nothing reaches the terminal as a command");
        assert_eq!(gist(&"é".repeat(200)).chars().count(), MAX_CHARS + 3);
    }
}
