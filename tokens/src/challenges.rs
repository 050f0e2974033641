//! Challenges: proof of work in the format of ALTCHA, version 2.
//!
//! A challenge is a signed statement: the difficulty, the request that it is for, and its end. The
//! client searches for the number whose key, derived with PBKDF2, begins with a given prefix. The
//! server derived that key when it issued the challenge and signed it, so a solution is verified
//! with two message authentication codes, and nothing is stored.
//!
//! Promise: a solution is worth one request. It is bound to the idempotency key, the buyer and the
//! drop (or the orders), so a replay is a retry of the same request, on every server of the log.
//! Limit: to issue a challenge costs the server one derivation, some 0.1 ms. The work is bounded:
//! the number is in the middle of the range, so the longest search is three times the shortest.
//!
//! Source: docs/decisions/0079-a-challenge-is-worth-one-request.md; the format:
//! <https://altcha.org/docs/v2/proof-of-work/>.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::values::{Difficulty, KeyDigest, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{hmac, pbkdf2};
use serde::{Deserialize, Serialize};

/// The derivation of keys, by its name in ALTCHA.
const ALGORITHM: &str = "PBKDF2/SHA-256";
/// Iterations of one derivation: few, so that a challenge is cheap to issue, and enough for the
/// call of a browser's implementation to be a small part of its time.
pub const COST: NonZeroU32 = NonZeroU32::new(500).expect("is not zero");
/// Derivations that one level of difficulty requires on average.
pub const DERIVATIONS_PER_LEVEL: u32 = 512;
/// How long a challenge may be solved.
pub const LIFETIME_SECONDS: u32 = 120;
/// Bytes of a derived key. The prefix is its first half.
const KEY_BYTES: usize = 32;
/// The longest solution that is read; one of this server has some 800 bytes.
const MAX_BYTES: usize = 4_096;

/// The signed statement of a challenge. The members are in alphabetical order, because the
/// signature covers their canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    pub algorithm: String,
    /// Iterations of one derivation.
    pub cost: u32,
    pub data: Data,
    /// Seconds since the Unix epoch.
    pub expires_at: i64,
    /// Bytes of the derived key.
    pub key_length: u32,
    /// The first bytes of the key that is sought, in hexadecimal.
    pub key_prefix: String,
    /// Signs the whole key.
    pub key_signature: String,
    pub nonce: String,
    pub salt: String,
}

/// Statements of this server, which a client ignores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    pub difficulty: Difficulty,
    /// Identifies the request that the solution is for.
    pub request: String,
}

/// A signed challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedChallenge {
    pub parameters: Parameters,
    pub signature: String,
}

/// The number that a client found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Solution {
    pub counter: u32,
    pub derived_key: String,
}

/// A challenge and its solution, as a client sends them: JSON in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    pub challenge: SignedChallenge,
    pub solution: Solution,
}

/// The request that a challenge is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The digests of its idempotency key, in the scope of all callers and in that of the buyer.
    pub keys: [KeyDigest; 2],
}

/// Why a solution was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SolutionError {
    #[error("is not the base64 of a JSON object with `challenge` and `solution`")]
    Malformed,
    #[error("is of a challenge that this shop did not issue")]
    Forged,
    #[error(
        "is of a challenge for another request: its Idempotency-Key, buyer and drop must be those \
         of the request that was refused"
    )]
    OtherRequest,
    #[error("came too late: the challenge expired")]
    Expired,
    #[error("does not solve the challenge")]
    Wrong,
}

/// Issues challenges and verifies solutions.
pub struct Challenges {
    statements: hmac::Key,
    keys: hmac::Key,
    requests: hmac::Key,
}

impl Challenges {
    /// Derives the keys from a secret that all servers of one log share.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = |purpose: &[u8]| {
            hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&secret, purpose).as_ref())
        };
        Self {
            statements: derived(b"holdfast/challenge/statements"),
            keys: derived(b"holdfast/challenge/keys"),
            requests: derived(b"holdfast/challenge/requests"),
        }
    }

    /// Issues a challenge for one request.
    ///
    /// # Errors
    /// [`ring::error::Unspecified`] when the operating system has no random bytes.
    pub fn issue(
        &self,
        request: Request,
        difficulty: Difficulty,
        now: Timestamp,
    ) -> Result<SignedChallenge, ring::error::Unspecified> {
        let mut random = [0; 36];
        SystemRandom::new().fill(&mut random)?;
        let (nonce, rest) = random.split_at(16);
        let (salt, number) = rest.split_at(16);
        let average = difficulty.get() * DERIVATIONS_PER_LEVEL;
        let number = number
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte));
        // Half to one and a half times the average: a lucky client and an unlucky one differ
        // little. The modulo is biased by less than one in 200,000.
        let counter = average / 2 + number % average;
        let key = derive(nonce, salt, counter);
        let parameters = Parameters {
            algorithm: ALGORITHM.to_owned(),
            cost: COST.get(),
            data: Data {
                difficulty,
                request: self.request(request),
            },
            expires_at: now
                .plus_seconds(LIFETIME_SECONDS)
                .millis()
                .div_euclid(1_000),
            key_length: 32,
            key_prefix: hex::encode(&key[..KEY_BYTES / 2]),
            key_signature: hex::encode(hmac::sign(&self.keys, &key)),
            nonce: hex::encode(nonce),
            salt: hex::encode(salt),
        };
        let signature = hex::encode(hmac::sign(&self.statements, &canonical(&parameters)));
        Ok(SignedChallenge {
            parameters,
            signature,
        })
    }

    /// Returns the difficulty of the challenge that a client has solved for `request`.
    ///
    /// # Errors
    /// [`SolutionError`].
    pub fn verify(
        &self,
        solution: &[u8],
        request: Request,
        now: Timestamp,
    ) -> Result<Difficulty, SolutionError> {
        let Payload {
            challenge,
            solution,
        } = read(solution).ok_or(SolutionError::Malformed)?;
        let Parameters { data, .. } = &challenge.parameters;
        let signed = canonical(&challenge.parameters);
        is_signed(&self.statements, &signed, &challenge.signature).ok_or(SolutionError::Forged)?;
        if data.request != self.request(request) {
            return Err(SolutionError::OtherRequest);
        }
        if challenge.parameters.expires_at < now.millis().div_euclid(1_000) {
            return Err(SolutionError::Expired);
        }
        let key = hex::decode(&solution.derived_key).map_err(|_| SolutionError::Wrong)?;
        is_signed(&self.keys, &key, &challenge.parameters.key_signature)
            .ok_or(SolutionError::Wrong)?;
        Ok(data.difficulty)
    }

    /// Identifies a request, without its key's digest, which the log has.
    fn request(&self, Request { keys }: Request) -> String {
        // The same request has its two digests in the other order for another kind of caller.
        let mut keys = keys.map(|key| key.bytes());
        keys.sort_unstable();
        let tag = hmac::sign(&self.requests, keys.concat().as_slice());
        hex::encode(&tag.as_ref()[..16])
    }
}

/// Solves a challenge as a client does, for tests and for tools without a browser.
#[must_use]
pub fn solve(challenge: &SignedChallenge) -> Option<Solution> {
    let Parameters {
        nonce,
        salt,
        key_prefix,
        ..
    } = &challenge.parameters;
    let (nonce, salt) = (hex::decode(nonce).ok()?, hex::decode(salt).ok()?);
    let prefix = hex::decode(key_prefix).ok()?;
    (0..=u32::MAX).find_map(|counter| {
        let key = derive(&nonce, &salt, counter);
        key.starts_with(&prefix).then(|| Solution {
            counter,
            derived_key: hex::encode(key),
        })
    })
}

impl Payload {
    /// Returns the value of the header that carries the solution.
    #[must_use]
    pub fn encode(&self) -> String {
        STANDARD.encode(serde_json::to_vec(self).unwrap_or_default())
    }
}

fn derive(nonce: &[u8], salt: &[u8], counter: u32) -> [u8; KEY_BYTES] {
    let password = [nonce, &counter.to_be_bytes()].concat();
    let mut key = [0; KEY_BYTES];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, COST, salt, &password, &mut key);
    key
}

/// The JSON that is signed: members in alphabetical order, without white space.
fn canonical(parameters: &Parameters) -> Vec<u8> {
    serde_json::to_vec(parameters).unwrap_or_default()
}

fn is_signed(key: &hmac::Key, message: &[u8], signature: &str) -> Option<()> {
    let signature = hex::decode(signature).ok()?;
    hmac::verify(key, message, &signature).ok()
}

fn read(solution: &[u8]) -> Option<Payload> {
    if solution.len() > MAX_BYTES {
        return None;
    }
    let json = STANDARD.decode(solution).ok()?;
    serde_json::from_slice(&json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_millis(1_800_000_000_500)
    }

    fn request(key: &[u8]) -> Request {
        let digest = |scope: &[u8]| KeyDigest::new(scope, key).unwrap();
        Request {
            keys: [digest(b"all"), digest(b"buyer")],
        }
    }

    fn easy() -> Difficulty {
        Difficulty::new(1).unwrap()
    }

    fn solved(challenges: &Challenges) -> Payload {
        let challenge = challenges.issue(request(b"k"), easy(), now()).unwrap();
        let solution = solve(&challenge).unwrap();
        Payload {
            challenge,
            solution,
        }
    }

    fn verdict(challenges: &Challenges, payload: &Payload) -> Result<u32, SolutionError> {
        let verified = challenges.verify(payload.encode().as_bytes(), request(b"k"), now());
        verified.map(Difficulty::get)
    }

    #[test]
    fn solution_is_accepted_by_every_server_of_the_log_and_by_no_other() {
        let challenges = Challenges::new(b"secret");
        let payload = solved(&challenges);
        assert_eq!(verdict(&challenges, &payload), Ok(1));
        assert_eq!(verdict(&Challenges::new(b"secret"), &payload), Ok(1));
        let other = Challenges::new(b"another secret");
        assert_eq!(verdict(&other, &payload), Err(SolutionError::Forged));
    }

    #[test]
    fn number_is_half_to_one_and_a_half_times_the_average() {
        let challenges = Challenges::new(b"secret");
        for _ in 0..4 {
            let counter = solved(&challenges).solution.counter;
            assert!((256..768).contains(&counter), "{counter}");
        }
    }

    #[test]
    fn solution_is_worth_the_request_that_its_challenge_is_for() {
        let challenges = Challenges::new(b"secret");
        let solution = solved(&challenges).encode();
        let verify = |request| challenges.verify(solution.as_bytes(), request, now());
        let Request { keys: [all, buyer] } = request(b"k");
        assert!(verify(Request { keys: [buyer, all] }).is_ok());
        let other = request(b"other");
        for other in [
            other,
            Request {
                keys: [all, other.keys[1]],
            },
        ] {
            assert_eq!(verify(other), Err(SolutionError::OtherRequest));
        }
    }

    #[test]
    fn challenge_ends_after_its_lifetime() {
        let challenges = Challenges::new(b"secret");
        let solution = solved(&challenges).encode();
        let at = |seconds| {
            let now = now().plus_seconds(seconds);
            challenges.verify(solution.as_bytes(), request(b"k"), now)
        };
        assert!(at(LIFETIME_SECONDS).is_ok());
        assert_eq!(at(LIFETIME_SECONDS + 1), Err(SolutionError::Expired));
    }

    #[test]
    fn every_change_of_a_solution_is_noticed() {
        let challenges = Challenges::new(b"secret");
        let payload = solved(&challenges);
        let changed = |change: &dyn Fn(&mut Payload)| {
            let mut payload = payload.clone();
            change(&mut payload);
            verdict(&challenges, &payload)
        };
        let forgeries: [&dyn Fn(&mut Payload); 5] = [
            &|payload| payload.challenge.parameters.data.difficulty = Difficulty::new(20).unwrap(),
            &|payload| payload.challenge.parameters.expires_at += 1,
            &|payload| payload.challenge.parameters.key_signature = "00".repeat(32),
            &|payload| payload.challenge.parameters.cost = 1,
            &|payload| payload.challenge.signature = String::new(),
        ];
        for change in forgeries {
            assert_eq!(changed(change), Err(SolutionError::Forged));
        }
        let prefix = payload.challenge.parameters.key_prefix.clone();
        for key in [
            prefix + &"00".repeat(16),
            String::new(),
            "no digits".to_owned(),
        ] {
            let wrong = changed(&|payload| payload.solution.derived_key.clone_from(&key));
            assert_eq!(wrong, Err(SolutionError::Wrong));
        }
        let base64 = payload.encode();
        for text in ["", "e30=", "\u{fffd}", &base64[..40], &"A".repeat(4_100)] {
            let malformed = challenges.verify(text.as_bytes(), request(b"k"), now());
            assert_eq!(malformed, Err(SolutionError::Malformed), "{text}");
        }
    }
}
