//! A recovery key: 256 random bits that a person keeps on paper, as 24 words of the English list of BIP 39.

use bip39::Mnemonic;
use zeroize::Zeroizing;

use super::{Credential, Secret};
use crate::error::{Error, Result};

/// Words of a recovery key.
pub const WORDS: usize = 24;

/// Longest text that is looked at, in bytes.
const MOST_TEXT_BYTES: usize = 4096;

/// A recovery key.
pub struct RecoveryKey(Secret);

fn invalid(value: String, rule: &'static str) -> Error {
    Error::Invalid { what: "recovery key", value, rule }
}

impl RecoveryKey {
    /// A new one.
    pub fn generate() -> Result<Self> {
        Secret::random().map(Self)
    }

    /// Its words, with single spaces between them.
    pub fn words(&self) -> Zeroizing<String> {
        let mnemonic = Mnemonic::from_entropy(self.0.expose()).expect("256 bits are 24 words");
        let mut text = Zeroizing::new(String::with_capacity(WORDS * 9));
        for word in mnemonic.words() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
        text
    }

    /// From words as somebody types them: in any case, with any white space, numbered or not. A word that is not in the
    /// list is told by its number; a word that is another one of the list shows in the checksum.
    pub fn from_words(text: &str) -> Result<Self> {
        if text.len() > MOST_TEXT_BYTES {
            return Err(invalid(format!("of {} bytes", text.len()), "it has 24 words"));
        }
        let lower = Zeroizing::new(text.to_lowercase());
        let is_number = |word: &&str| word.trim_end_matches(['.', ')', ':']).bytes().all(|byte| byte.is_ascii_digit());
        let words: Vec<&str> = lower.split_whitespace().filter(|word| !is_number(word)).collect();
        if words.len() != WORDS {
            return Err(invalid(format!("of {} words", words.len()), "it has 24 words"));
        }
        let known = bip39::Language::English.word_list();
        if let Some(place) = words.iter().position(|word| known.binary_search(word).is_err()) {
            let word: String = words[place].chars().take(20).collect();
            return Err(invalid(format!("word {}, {word}", place + 1), "that word is not in the list of 2,048 words"));
        }
        let joined = Zeroizing::new(words.join(" "));
        let swapped = |_| invalid("these 24 words".to_owned(), "one of them is another word, or two are swapped");
        let mnemonic = Mnemonic::parse_in_normalized(bip39::Language::English, &joined).map_err(swapped)?;
        let (bytes, _) = mnemonic.to_entropy_array();
        let bytes = Zeroizing::new(bytes);
        let key = bytes.first_chunk::<32>().expect("24 words are 256 bits");
        Ok(Self(Secret::from(*key)))
    }

    /// What opens a slot with it.
    pub fn credential(&self) -> Credential {
        Credential::Recovery(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of BIP 39 for these bits.
    const ZEROS: &str = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon \
        abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art";

    fn said(text: &str) -> String {
        RecoveryKey::from_words(text).map(|_| String::new()).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn words_are_those_of_the_standard_and_come_back() {
        assert_eq!(*RecoveryKey(Secret::from([0; 32])).words(), *ZEROS);
        let key = RecoveryKey::generate().expect("random");
        let typed = key.words().to_uppercase().replace(' ', "\n  ");
        let again = RecoveryKey::from_words(&typed).expect("the same words");
        assert_eq!(again.0.expose(), key.0.expose());
        let numbered: Vec<String> = (1..).zip(key.words().split(' ')).map(|(n, word)| format!("{n}. {word}")).collect();
        assert!(RecoveryKey::from_words(&numbered.join(" ")).is_ok());
    }

    #[test]
    fn a_slip_is_told_by_name() {
        assert!(
            said(&ZEROS.replace("art", "artt")).contains("word 24, artt"),
            "{}",
            said(&ZEROS.replace("art", "artt"))
        );
        assert!(said(&ZEROS.replace("art", "arm")).contains("another word"));
        assert!(said("abandon abandon").contains("24 words"));
        assert!(said("").contains("24 words"));
        assert!(said(&"x ".repeat(100_000)).contains("24 words"));
    }
}
