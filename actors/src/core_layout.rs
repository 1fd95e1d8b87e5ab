//! Core layout of the machine: which cores there are, which are fast, and which share a cache.
//!
//! Linux says so in files under `/sys`: how fast a core is (`cpu_capacity` on ARM, the highest frequency elsewhere),
//! which of its numbers are threads of one core, and which cores share their last cache. Missing information counts as
//! equal.

use std::{collections::BTreeSet, fs, path::Path, str::FromStr};

use crate::compute_site::available_cores;

/// A core that is slower than this share of the fastest one of its kind is of another kind: what is told apart is a big
/// core from a little one, not one that may be clocked a little higher than its neighbours.
const SAME_SPEED: f64 = 0.8;

/// Cores of one speed that share their last cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreGroup {
    /// One number for each physical core, in order.
    pub cores: Vec<usize>,
    /// How fast its cores are: 0 the fastest kind of the machine, then the next.
    pub kind: usize,
}

/// The physical cores that this process may use, as groups: the fastest first, larger ones before smaller ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoreLayout {
    groups: Vec<CoreGroup>,
}

impl CoreLayout {
    /// This machine's.
    pub fn here() -> Self {
        Self::read(Path::new("/sys"), &available_cores())
    }

    /// As the files under `sysfs` have it, of which only the numbers in `usable` may be used.
    pub fn read(sysfs: &Path, usable: &[usize]) -> Self {
        let folder = |core: usize| sysfs.join(format!("devices/system/cpu/cpu{core}"));
        let mut taken = BTreeSet::new();
        let mut cores = Vec::new();
        for core in usable.iter().copied().collect::<BTreeSet<_>>() {
            if taken.contains(&core) {
                continue; // another thread of a core that there is already
            }
            let folder = folder(core);
            taken.extend(read_list(&folder.join("topology/thread_siblings_list")).unwrap_or_default());
            let speed = read_number(&folder.join("cpu_capacity"))
                .or_else(|| read_number(&folder.join("cpufreq/cpuinfo_max_freq")))
                .unwrap_or(0);
            let cache =
                (0..=4).rev().find_map(|index| read_list(&folder.join(format!("cache/index{index}/shared_cpu_list"))));
            // Where no cache is named, all are as near as any.
            cores.push((core, speed, cache.unwrap_or_default()));
        }
        let kinds = kinds(cores.iter().map(|(_, speed, _)| *speed).collect());
        let mut groups: Vec<(CoreGroup, &Vec<usize>)> = Vec::new();
        for (core, speed, cache) in &cores {
            let kind = kinds.iter().take_while(|slowest| speed < slowest).count();
            match groups.iter_mut().find(|(group, shared)| group.kind == kind && *shared == cache) {
                Some((group, _)) => group.cores.push(*core),
                None => groups.push((CoreGroup { cores: vec![*core], kind }, cache)),
            }
        }
        let mut groups: Vec<CoreGroup> = groups.into_iter().map(|(group, _)| group).collect();
        groups.sort_by_key(|group| (group.kind, usize::MAX - group.cores.len(), group.cores[0]));
        Self { groups }
    }

    /// A machine about which nothing is known but these cores.
    pub fn even(cores: &[usize]) -> Self {
        let group = CoreGroup { cores: cores.to_vec(), kind: 0 };
        Self { groups: if cores.is_empty() { Vec::new() } else { vec![group] } }
    }

    /// The groups, the fastest first.
    pub fn groups(&self) -> &[CoreGroup] {
        &self.groups
    }

    /// All cores, group after group.
    pub fn cores(&self) -> Vec<usize> {
        self.groups.iter().flat_map(|group| group.cores.clone()).collect()
    }

    /// Two parts of the machine for work that goes on side by side and shall not meet: whole groups where that leaves
    /// each part enough, the fastest in the first part.
    pub fn halves(&self) -> (Vec<usize>, Vec<usize>) {
        let all = self.cores();
        let fastest = self.groups.first().map_or(0, |group| group.kind);
        let mut first = self.groups.first().map_or(0, |group| group.cores.len());
        for group in self.groups.iter().skip(1).take_while(|group| group.kind == fastest) {
            if first + group.cores.len() > all.len() / 2 {
                break;
            }
            first += group.cores.len();
        }
        // One large group beside a few stray cores is cut in the middle like a machine of one group.
        let lopsided = all.len() > 1 && 2 * (all.len() - first) < first;
        let cut = if lopsided { all.len() / 2 } else { first };
        let (first, second) = all.split_at(cut);
        (first.to_vec(), second.to_vec())
    }
}

/// For each kind of core the slowest speed that still belongs to it, the fastest kind first.
fn kinds(mut speeds: Vec<u64>) -> Vec<u64> {
    speeds.sort_unstable_by(|a, b| b.cmp(a));
    let mut kinds: Vec<(u64, u64)> = Vec::new();
    for speed in speeds {
        match kinds.last_mut() {
            Some((fastest, slowest)) if speed as f64 >= SAME_SPEED * *fastest as f64 => *slowest = speed,
            _ => kinds.push((speed, speed)),
        }
    }
    kinds.into_iter().map(|(_, slowest)| slowest).collect()
}

fn read_number(path: &Path) -> Option<u64> {
    u64::from_str(fs::read_to_string(path).ok()?.trim()).ok()
}

/// Reads a list as Linux writes them: `0-3,8,10-11`.
fn read_list(path: &Path) -> Option<Vec<usize>> {
    let text = fs::read_to_string(path).ok()?;
    let mut numbers = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        // No machine has more; a range beyond it is a damaged file.
        if last >= 1 << 16 {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A core as its files describe it.
    #[derive(Clone, Copy, Default)]
    struct Core<'a> {
        capacity: Option<u64>,
        frequency: Option<u64>,
        siblings: &'a str,
        /// Index and cores of its last cache.
        cache: Option<(usize, &'a str)>,
    }

    fn tree(cores: &[Core<'_>]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (number, core) in cores.iter().enumerate() {
            let write = |name: String, text: String| {
                let path = folder.path().join(format!("devices/system/cpu/cpu{number}/{name}"));
                fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
                fs::write(path, text + "\n").expect("written");
            };
            if let Some(capacity) = core.capacity {
                write("cpu_capacity".into(), capacity.to_string());
            }
            if let Some(frequency) = core.frequency {
                write("cpufreq/cpuinfo_max_freq".into(), frequency.to_string());
            }
            if !core.siblings.is_empty() {
                write("topology/thread_siblings_list".into(), core.siblings.into());
            }
            if let Some((index, shared)) = core.cache {
                write("cache/index0/shared_cpu_list".into(), number.to_string());
                write(format!("cache/index{index}/shared_cpu_list"), shared.into());
            }
        }
        folder
    }

    fn layout(cores: &[Core<'_>]) -> CoreLayout {
        let folder = tree(cores);
        CoreLayout::read(folder.path(), &(0..cores.len()).collect::<Vec<_>>())
    }

    fn groups(layout: &CoreLayout) -> Vec<(&[usize], usize)> {
        layout.groups().iter().map(|group| (&group.cores[..], group.kind)).collect()
    }

    #[test]
    fn four_cores_with_one_cache_are_one_group_that_is_cut_in_the_middle() {
        let raspberry = layout(&[Core { frequency: Some(1_800_000), cache: Some((2, "0-3")), ..Core::default() }; 4]);
        assert_eq!(groups(&raspberry), [(&[0, 1, 2, 3][..], 0)]);
        assert_eq!(raspberry.halves(), (vec![0, 1], vec![2, 3]));
    }

    #[test]
    fn big_cores_come_before_little_ones_even_where_all_share_a_cache() {
        let core = |capacity| Core { capacity: Some(capacity), cache: Some((3, "0-7")), ..Core::default() };
        let [little, big] = [414, 1024].map(core);
        // One of the big ones may be clocked a little lower.
        let rk3588 = layout(&[little, little, little, little, core(990), big, big, big]);
        assert_eq!(groups(&rk3588), [(&[4, 5, 6, 7][..], 0), (&[0, 1, 2, 3][..], 1)]);
        assert_eq!(rk3588.halves(), (vec![4, 5, 6, 7], vec![0, 1, 2, 3]));
    }

    #[test]
    fn of_two_threads_of_a_core_one_is_used_and_each_cache_is_a_group() {
        // Numbers 8 to 15 are the second threads of 0 to 7.
        let siblings: Vec<String> = (0..16).map(|core| format!("{},{}", core % 8, core % 8 + 8)).collect();
        let desktop: Vec<Core<'_>> = (0..16)
            .map(|core| Core {
                frequency: Some(5_000_000 + core as u64),
                siblings: &siblings[core],
                cache: Some((3, if core % 8 < 4 { "0-3,8-11" } else { "4-7,12-15" })),
                ..Core::default()
            })
            .collect();
        let layout = layout(&desktop);
        assert_eq!(groups(&layout), [(&[0, 1, 2, 3][..], 0), (&[4, 5, 6, 7][..], 0)]);
        // A process that may use only second threads uses these.
        let folder = tree(&desktop);
        assert_eq!(CoreLayout::read(folder.path(), &[9, 14, 1]).cores(), [1, 14]);
    }

    #[test]
    fn many_equal_groups_are_shared_out_whole() {
        let caches = ["0-3", "4-7", "8-11", "12-15"];
        let cores: Vec<Core<'_>> =
            (0..16).map(|core| Core { cache: Some((3, caches[core / 4])), ..Core::default() }).collect();
        assert_eq!(layout(&cores).halves(), ((0..8).collect(), (8..16).collect()));
    }

    #[test]
    fn a_few_slow_cores_are_not_all_that_half_of_the_work_gets() {
        let core = |frequency| Core { frequency: Some(frequency), ..Core::default() };
        let cores = [5_000_000, 5_000_000, 5_000_000, 5_000_000, 5_000_000, 5_000_000, 3_000_000, 3_000_000].map(core);
        assert_eq!(layout(&cores).halves(), (vec![0, 1, 2, 3], vec![4, 5, 6, 7]));
    }

    #[test]
    fn one_core_and_no_files_at_all_are_machines_too() {
        let one = layout(&[Core { frequency: Some(1_000_000), ..Core::default() }]);
        assert_eq!((one.cores(), one.halves()), (vec![0], (vec![0], vec![])));
        let folder = tempfile::tempdir().expect("a folder");
        let unknown = CoreLayout::read(folder.path(), &[2, 0, 3, 1]);
        assert_eq!(unknown, CoreLayout::even(&[0, 1, 2, 3]));
        assert_eq!(CoreLayout::read(folder.path(), &[]), CoreLayout::even(&[]));
    }

    #[test]
    fn files_that_say_nothing_sensible_are_as_if_they_were_not_there() {
        let folder = tree(&[Core { siblings: "0-99999999999", cache: Some((3, "x-")), ..Core::default() }; 3]);
        assert_eq!(CoreLayout::read(folder.path(), &[0, 1, 2]).cores(), [0, 1, 2]);
    }
}
