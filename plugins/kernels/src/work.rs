//! The kernels: plain functions of numbers. The same file is compiled into the plugin
//! and, natively, into `pgtq-bench`.

/// Integer arithmetic and branches: the steps of all Collatz sequences from 1 to `n`.
pub fn integer(n: u64) -> u64 {
    let mut steps = 0_u64;
    for start in 1..=n {
        let mut x = start;
        while x != 1 {
            x = if x & 1 == 0 { x >> 1 } else { 3 * x + 1 };
            steps += 1;
        }
    }
    steps
}

/// Hashing: FNV-1a with a final mix over `n` blocks of 64 bytes, each seeded by the
/// hash of the one before.
pub fn hashing(n: u64) -> u64 {
    let mut block = [0_u8; 64];
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for _ in 0..n {
        for (byte, place) in block.iter_mut().zip(0_u32..) {
            *byte = (hash >> ((place & 7) * 8)) as u8 ^ place as u8;
        }
        for byte in block {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        hash ^= hash >> 29;
    }
    hash
}

/// Memory: `n` dependent loads and stores at scattered addresses within 4 MiB.
pub fn memory(n: u64) -> u64 {
    const WORDS: usize = 1 << 19;
    let mut words = vec![0_u64; WORDS];
    let mut at = 1_u64;
    let mut sum = 0_u64;
    for step in 0..n {
        at = at
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407 ^ sum);
        let place = (at >> 45) as usize & (WORDS - 1);
        sum = sum.wrapping_add(words[place]);
        words[place] = at ^ step;
    }
    sum
}
