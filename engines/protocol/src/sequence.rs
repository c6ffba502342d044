//! One sequence of a language model, timed or for its logits: the narrowest part that the clock sees.
//! Knows nothing of messages' order, files to write or libraries.

use std::path::Path;

use crate::engine::{Clock, LanguageModel};
use crate::message::{Fault, Sample};
use crate::npy;

/// The tokens of a sequence, checked: at least one to begin with, all within the vocabulary.
#[derive(Debug)]
pub struct Sequence {
    tokens: Vec<i64>,
    prompt: usize,
}

impl Sequence {
    /// Reads what the workload asks for from its token file at `path`.
    pub fn read(path: &str, prompt_tokens: u32, new_tokens: u32, vocabulary: u32) -> Result<Self, Fault> {
        let named = |what: String| Fault::failed(format!("token file `{path}`: {what}"));
        let file = std::fs::File::open(Path::new(path)).map_err(|error| named(error.to_string()))?;
        let prompt = prompt_tokens as usize;
        let count = prompt + new_tokens as usize;
        let tokens = npy::read_i64(std::io::BufReader::new(file), count).map_err(|error| named(error.to_string()))?;
        if prompt == 0 {
            return Err(Fault::failed("`prompt_tokens` is 0, and a sequence begins with at least one token"));
        }
        if tokens.len() < count {
            return Err(named(format!("{count} tokens are asked for, and it holds {}", tokens.len())));
        }
        if let Some(token) = tokens.iter().find(|token| !(0..i64::from(vocabulary)).contains(*token)) {
            return Err(named(format!("token {token} lies outside of the vocabulary of {vocabulary}")));
        }
        Ok(Self { tokens, prompt })
    }

    /// The number of tokens, prompt and decoded ones.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Runs it against the clock, whose reading at the session's start is `origin`.
    pub fn sample(&self, model: &mut dyn LanguageModel, clock: &dyn Clock, origin: u64) -> Result<Sample, Fault> {
        let (prompt, rest) = self.tokens.split_at(self.prompt);
        let mut decode_ns = Vec::with_capacity(rest.len());
        model.reset()?;
        let start = clock.now_ns();
        model.forward(prompt)?;
        let mut before = clock.now_ns();
        let prefill_ns = before - start;
        for token in rest {
            model.forward(std::slice::from_ref(token))?;
            let now = clock.now_ns();
            decode_ns.push(now - before);
            before = now;
        }
        Ok(Sample { at_ns: start - origin, prefill_ns, decode_ns })
    }

    /// Runs it once more and hands the logits on, pass by pass.
    pub fn logits(
        &self,
        model: &mut dyn LanguageModel,
        mut each: impl FnMut(&[f32]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let (prompt, rest) = self.tokens.split_at(self.prompt);
        model.reset()?;
        model.forward(prompt)?;
        each(&model.logits()?)?;
        for token in rest {
            model.forward(std::slice::from_ref(token))?;
            each(&model.logits()?)?;
        }
        Ok(())
    }
}
