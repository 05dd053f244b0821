//! [`Lines`]: the lines of standard input, each read by itself and no longer than a message may be.

use std::io::ErrorKind;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// Longest line, in bytes: that of a message.
const LONGEST: usize = 64 * 1024;

/// Reads lines.
pub struct Lines<R> {
    from: R,
    /// What was read of the line that is being read.
    line: Vec<u8>,
    /// Whether there was more of it than fits.
    is_long: bool,
}

/// Why a line is no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadLine {
    #[error("it is longer than {LONGEST} bytes: split it")]
    TooLong,
    #[error("it is not UTF-8: convert it")]
    NotText,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub const fn new(from: R) -> Self {
        Self {
            from,
            line: Vec::new(),
            is_long: false,
        }
    }

    /// The next line without its end; `None` behind the last. Of one that is too long only the end is
    /// looked for. May be dropped before it is ready without losing anything.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub async fn next(&mut self) -> Result<Option<Result<String, BadLine>>, ErrorKind> {
        loop {
            let piece = self.from.fill_buf().await.map_err(|error| error.kind())?;
            if piece.is_empty() {
                return Ok((self.is_long || !self.line.is_empty()).then(|| self.take()));
            }
            let end = piece.iter().position(|byte| *byte == b'\n');
            let text = piece.get(..end.unwrap_or(piece.len())).unwrap_or_default();
            // One byte more than fits: a carriage return may be its end.
            let room = (LONGEST + 1).saturating_sub(self.line.len());
            self.is_long |= text.len() > room;
            self.line.extend(text.iter().take(room));
            let read = text.len() + usize::from(end.is_some());
            self.from.consume(read);
            if end.is_some() {
                return Ok(Some(self.take()));
            }
        }
    }

    fn take(&mut self) -> Result<String, BadLine> {
        let mut line = std::mem::take(&mut self.line);
        let is_long = std::mem::take(&mut self.is_long);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        match is_long || line.len() > LONGEST {
            true => Err(BadLine::TooLong),
            false => String::from_utf8(line).map_err(|_| BadLine::NotText),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(input: &[u8]) -> Vec<Result<String, BadLine>> {
        let mut lines = Lines::new(tokio::io::BufReader::with_capacity(7, input));
        let mut read = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            assert!(lines.line.capacity() <= 2 * LONGEST, "not bounded");
            read.push(line);
        }
        read
    }

    #[tokio::test]
    async fn each_line_stands_for_itself() {
        let text = |text: &str| Ok(text.to_owned());
        assert_eq!(all(b"").await, []);
        let read = all(b"one\n\ntw\xffo\r\nthree\r\nf\xc3\xbcnf").await;
        let expected = [
            text("one"),
            text(""),
            Err(BadLine::NotText),
            text("three"),
            text("fünf"),
        ];
        assert_eq!(read, expected);
        assert_eq!(all(b"\n\n").await, [text(""), text("")]);
    }

    #[tokio::test]
    async fn a_long_line_takes_no_more_memory_than_the_longest() {
        let longest = vec![b'x'; LONGEST];
        let long = vec![b'x'; LONGEST * 50];
        let input = [&longest[..], b"\r\n", &long, b"\nshort\n", &long].concat();
        let read = all(&input).await;
        assert_eq!(read[0].as_ref().map(String::len), Ok(LONGEST));
        assert_eq!(read[1], Err(BadLine::TooLong));
        assert_eq!(read[2], Ok("short".to_owned()));
        assert_eq!(read[3], Err(BadLine::TooLong));
        assert_eq!(read.len(), 4);
    }
}
