//! Text of others as a terminal may show it.

use unicode_normalization::char::is_combining_mark;

/// Combining marks on one character; more of them run over the lines above and below.
const MARKS: usize = 4;

/// Text of others without what could drive the terminal or hide in it: no control characters, no
/// marks that turn the direction of what follows, nothing invisible, no towers of combining marks. A
/// line break stays one, indented.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut marks: usize = 0;
    for char in text.chars() {
        if is_combining_mark(char) {
            marks = marks.saturating_add(1);
            if marks > MARKS {
                continue;
            }
        } else {
            marks = 0;
        }
        match char {
            '\n' => shown.push_str("\n    "),
            '\t' => shown.push(' '),
            char if char.is_control() || is_hidden(char) => {
                shown.push(char::REPLACEMENT_CHARACTER);
            }
            char => shown.push(char),
        }
    }
    shown
}

/// Whether a character shows nothing, or changes how others are shown. Joiners are left: emoji and
/// many scripts need them.
const fn is_hidden(char: char) -> bool {
    matches!(char,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_others_wrote_drives_the_terminal() {
        assert_eq!(
            printable("a\u{1b}[2Jb\r\u{202e}c\n\u{9b}d"),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\n    \u{fffd}d"
        );
    }

    #[test]
    fn nothing_hides() {
        let hidden = "\u{61c}\u{200b}\u{200e}\u{2028}\u{2029}\u{2060}\u{2061}\u{2062}\u{2063}\u{2064}\u{2066}\u{feff}\u{e0000}\u{e0041}\u{e007f}";
        let shown = printable(hidden);
        assert_eq!(shown, "\u{fffd}".repeat(hidden.chars().count()));
        // A family and a word of Persian are as their writers meant them.
        for whole in [
            "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
            "می\u{200c}خواهم",
        ] {
            assert_eq!(printable(whole), whole);
        }
    }

    #[test]
    fn marks_do_not_pile_up() {
        let tower = format!("z{}o\u{301}", "\u{300}".repeat(500));
        assert_eq!(printable(&tower), "z\u{300}\u{300}\u{300}\u{300}o\u{301}");
    }
}
