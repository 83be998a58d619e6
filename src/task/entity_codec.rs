//! The bytes of an entity's head.

use super::entity::{EntityState, LastRow, NEVER, Windows};
use super::program::Program;
use crate::aggregate::Acc;
use crate::aggregate::codec::{Corrupt, Reader, put_i64};
use crate::window::{Extremes, Last, Sessions, Since, Stack, Tiles, Tumbling};

impl EntityState {
    /// Appends its bytes.
    pub fn encode(&self, program: &Program, out: &mut Vec<u8>) {
        put_i64(out, self.newest);
        put_i64(out, self.kafka_time.wrapping_sub(self.newest));
        put_i64(
            out,
            self.timer.map_or(0, |timer| timer.wrapping_sub(self.newest).wrapping_add(i64::from(timer >= self.newest))),
        );
        match self.last_row {
            None => out.push(0),
            Some(row) => {
                out.push(1);
                put_i64(out, self.known_at.wrapping_sub(self.newest));
                put_i64(out, row.event_time.wrapping_sub(self.newest));
                put_i64(out, row.offset);
                put_i64(out, i64::from(row.sequence));
                put_i64(out, row.ordinal);
            }
        }
        self.windows.encode(program, out);
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`Corrupt`] when the bytes are not of this program.
    pub fn decode(program: &Program, bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut input = Reader::new(bytes);
        let input = &mut input;
        let newest = input.i64()?;
        let kafka_time = input.i64()?.wrapping_add(newest);
        let timer = match input.i64()? {
            0 => None,
            later if later > 0 => Some(newest.wrapping_add(later - 1)),
            earlier => Some(newest.wrapping_add(earlier)),
        };
        let (known_at, last_row) = match input.byte()? {
            0 => (NEVER, None),
            _ => {
                let known_at = input.i64()?.wrapping_add(newest);
                let event_time = input.i64()?.wrapping_add(newest);
                let offset = input.i64()?;
                let sequence = input.i64()?.try_into().map_err(|_| Corrupt)?;
                (known_at, Some(LastRow { event_time, offset, sequence, ordinal: input.i64()? }))
            }
        };
        let windows = Windows::decode(program, input)?;
        if input.remaining() > 0 {
            return Err(Corrupt);
        }
        Ok(Self { newest, kafka_time, known_at, last_row, timer, windows })
    }

    /// Bytes in memory, approximately.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.windows.heap_bytes()
    }
}

impl Windows {
    fn encode(&self, program: &Program, out: &mut Vec<u8>) {
        self.lifetime.iter().for_each(|acc| acc.encode(out));
        self.tiles.iter().for_each(|tiles| tiles.encode(out));
        for (spec, extremes) in program.extremes.iter().zip(&self.extremes) {
            extremes.encode(spec, out);
        }
        self.stacks.iter().for_each(|stack| stack.encode(out));
        self.sessions.iter().for_each(|sessions| sessions.encode(out));
        self.tumblings.iter().for_each(|tumbling| tumbling.encode(out));
        self.sinces.iter().for_each(|since| since.encode(out));
        self.lasts.iter().for_each(|last| last.encode(out));
    }

    fn decode(program: &Program, input: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Ok(Self {
            lifetime: program.lifetime.iter().map(|kind| kind.decode(input)).collect::<Result<_, _>>()?,
            tiles: program.tiles.iter().map(|spec| Tiles::decode(spec, input)).collect::<Result<_, _>>()?,
            extremes: program.extremes.iter().map(|spec| Extremes::decode(spec, input)).collect::<Result<_, _>>()?,
            stacks: program.stacks.iter().map(|spec| Stack::decode(spec, input)).collect::<Result<_, _>>()?,
            sessions: program.sessions.iter().map(|spec| Sessions::decode(spec, input)).collect::<Result<_, _>>()?,
            tumblings: program.tumblings.iter().map(|spec| Tumbling::decode(spec, input)).collect::<Result<_, _>>()?,
            sinces: program.sinces.iter().map(|since| Since::decode(&since.spec, input)).collect::<Result<_, _>>()?,
            lasts: program.lasts.iter().map(|last| Last::decode(&last.spec, input)).collect::<Result<_, _>>()?,
        })
    }

    fn heap_bytes(&self) -> usize {
        let spilled = |len: usize, inline: usize, size: usize| if len > inline { len * size } else { 0 };
        spilled(self.lifetime.len(), 2, size_of::<Acc>())
            + self.lifetime.iter().map(Acc::heap_bytes).sum::<usize>()
            + spilled(self.tiles.len(), 1, size_of::<Tiles>())
            + self.tiles.iter().map(Tiles::heap_bytes).sum::<usize>()
            + spilled(self.extremes.len(), 1, size_of::<Extremes>())
            + self.extremes.iter().map(Extremes::heap_bytes).sum::<usize>()
            + self.stacks.iter().map(|stack| size_of::<Stack>() + stack.heap_bytes()).sum::<usize>()
            + self.sessions.iter().map(Sessions::heap_bytes).sum::<usize>()
            + self.tumblings.iter().map(|all| size_of::<Tumbling>() + all.heap_bytes()).sum::<usize>()
            + self.sinces.iter().map(|since| size_of::<Since>() + since.heap_bytes()).sum::<usize>()
            + self.lasts.iter().map(|last| size_of::<Last>() + last.heap_bytes()).sum::<usize>()
    }
}
