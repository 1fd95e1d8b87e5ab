//! Plan of a machine for the stages: workers, threads, cores, devices and capacities, as one checked value.

pub use heartstream_actors::{
    compute_site::ComputeSite,
    remote::song_workers::{SongLease, SongWorkers},
};
use heartstream_actors::{
    compute_site::available_cores, core_layout::CoreLayout, core_turns::CoreTurns, prompt_cores::PromptCores,
    song_context::EngineContext,
};
use heartstream_messages::Stage;
use heartstream_models::signal::ReferenceWindows;
pub use heartstream_models::{
    DeviceName, Devices, WeightDtype,
    speculation::DrafterName,
    weights::{FlowPrecision, Storage},
};

pub use crate::capacity::Capacities;
use crate::error::EngineError;

/// Physical cores below which stages share all of them: binding would leave some idle while others wait.
const CORES_WORTH_DIVIDING: usize = 4;

/// Threads of a stage for each core, at most: more wait for each other, and a song has three stages that compute.
const MOST_THREADS_FOR_A_CORE: usize = 8;

/// The requested placement; unset fields follow from the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Cores of the language model.
    pub lm_cores: Option<Vec<usize>>,
    /// Cores of all flow workers together.
    pub flow_cores: Option<Vec<usize>>,
    /// Cores of the vocoder.
    pub vocoder_cores: Option<Vec<usize>>,
    /// Cores on which drafts are prefetched while the language model verifies; without them and without a device, none
    /// are.
    pub draft_cores: Option<Vec<usize>>,
    /// The device of these drafts; by default that of the language model.
    pub draft_device: Option<DeviceName>,
    /// Threads of each stage that computes; by default one for each of its physical cores.
    pub threads: Option<usize>,
    /// Flow workers.
    pub flow_workers: usize,
    /// Devices of the parts of the model.
    pub devices: Devices,
    /// Further devices of flow workers, which take turns: the first worker has that of `devices`. Each device has the weights
    /// of flow matching in its own memory.
    pub more_flow_devices: Vec<DeviceName>,
    /// Accuracy of flow matching's products on GPUs.
    pub flow_precision: FlowPrecision,
}

/// All of the machine, its processor, and one flow worker.
impl Default for Placement {
    fn default() -> Self {
        Self {
            lm_cores: None,
            flow_cores: None,
            vocoder_cores: None,
            draft_cores: None,
            draft_device: None,
            threads: None,
            flow_workers: 1,
            devices: Devices::default(),
            more_flow_devices: Vec::new(),
            flow_precision: FlowPrecision::F32,
        }
    }
}

/// The prefetcher's site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DraftSite {
    /// Cores; with none, the operating system chooses.
    pub cores: Vec<usize>,
    /// Device.
    pub device: DeviceName,
}

/// The plan of an engine's songs.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Where the language model computes.
    pub lm: ComputeSite,
    /// Where drafts are prefetched; `None` where none are.
    pub draft: Option<DraftSite>,
    /// Where each flow worker computes; one entry for each.
    pub flow: Vec<ComputeSite>,
    /// Where the vocoder computes.
    pub vocoder: ComputeSite,
    /// Where a prompt is read while no codec computes: all cores, where the language model has a part of them.
    pub prompt: Option<ComputeSite>,
    /// Devices of the parts of the model.
    pub devices: Devices,
    /// What each flow worker computes on; one entry for each.
    pub flow_devices: Vec<DeviceName>,
    /// Accuracy of flow matching's products on GPUs.
    pub flow_precision: FlowPrecision,
    /// Room between the stages.
    pub capacities: Capacities,
    /// How songs are cut.
    pub windows: ReferenceWindows,
}

impl Plan {
    /// The plan for this machine.
    ///
    /// # Errors
    /// When a core is named that this process may not use, or a count is out of range.
    pub fn new(placement: &Placement) -> Result<Self, EngineError> {
        Self::for_machine(placement, &available_cores(), &CoreLayout::here())
    }

    /// The plan for a machine with these cores in this layout.
    fn for_machine(placement: &Placement, machine: &[usize], layout: &CoreLayout) -> Result<Self, EngineError> {
        let Placement {
            lm_cores,
            flow_cores,
            vocoder_cores,
            draft_cores,
            draft_device,
            threads,
            flow_workers,
            devices,
            more_flow_devices,
            flow_precision,
        } = placement;
        if !(1..=64).contains(flow_workers) {
            return refuse("flow-workers", "from 1 to 64".to_owned(), flow_workers.to_string());
        }
        let most_threads = MOST_THREADS_FOR_A_CORE * machine.len().max(1);
        if let Some(threads) = threads.filter(|threads| !(1..=most_threads).contains(threads)) {
            let cores = machine.len().max(1);
            let expected = format!("from 1 to {most_threads}, {MOST_THREADS_FOR_A_CORE} for each of {cores} cores");
            return refuse("threads", expected, threads.to_string());
        }
        for (option, cores) in [
            ("lm-cores", lm_cores),
            ("flow-cores", flow_cores),
            ("vocoder-cores", vocoder_cores),
            ("draft-cores", draft_cores),
        ] {
            let strange = cores.iter().flatten().find(|core| !machine.is_empty() && !machine.contains(core));
            if let Some(core) = strange {
                return refuse(option, format!("among the cores of this machine, {machine:?}"), core.to_string());
            }
        }
        let on_processor = std::iter::once(&devices.flow).chain(more_flow_devices).any(|device| device.is_cpu());
        if *flow_precision == FlowPrecision::F16 && on_processor {
            let expected = "f32 where flow matching is on a processor, whose products are f32 always".to_owned();
            return refuse("flow-precision", expected, "f16".to_owned());
        }
        let draft =
            || DraftSite { cores: draft_cores.clone().unwrap_or_default(), device: draft_device.unwrap_or(devices.lm) };
        let all = layout.cores().len();
        let site =
            |cores: &[usize]| ComputeSite { threads: threads.unwrap_or(cores.len().max(1)), cores: cores.to_vec() };
        let anywhere = |share: usize| ComputeSite { threads: threads.unwrap_or(share.max(1)), cores: Vec::new() };
        // The language model reads weights while the flow workers multiply, so both can go on side by side. The vocoder
        // works between two segments of the flow workers, on their cores. Stages that wait for each other share a
        // cache, others have their own. Only one thread of a core is used: the other would wait for the same units.
        let divided = all >= CORES_WORTH_DIVIDING;
        let (first, second) = layout.halves();
        let default = |cores: &[usize]| if divided { site(cores) } else { anywhere(all) };
        let flow = match flow_cores {
            Some(cores) => site(cores),
            None => default(&second),
        };
        // Cores that were given to a stage by name are no other's.
        let as_it_likes = lm_cores.is_none() && flow_cores.is_none() && vocoder_cores.is_none() && threads.is_none();
        let prompt = divided && as_it_likes && devices.lm.is_cpu();
        Ok(Self {
            prompt: prompt.then(|| site(&layout.cores())),
            lm: lm_cores.as_deref().map_or_else(|| default(&first), site),
            vocoder: match vocoder_cores {
                Some(cores) => site(cores),
                None => flow.clone(),
            },
            flow: (0..*flow_workers).map(|worker| share(&flow, worker, *flow_workers, *threads)).collect(),
            draft: (draft_cores.is_some() || draft_device.is_some()).then(draft),
            devices: *devices,
            flow_precision: *flow_precision,
            flow_devices: std::iter::once(&devices.flow)
                .chain(more_flow_devices)
                .cycle()
                .take(*flow_workers)
                .copied()
                .collect(),
            capacities: Capacities::default(),
            windows: ReferenceWindows::default(),
        })
    }
}

impl Plan {
    /// What the songs of an engine with this plan share.
    pub(crate) fn context(&self) -> EngineContext {
        let Devices { lm, vocoder, .. } = self.devices;
        let flow = self.flow_devices.iter().map(|device| (Stage::FlowWorker, *device));
        let stages = flow.chain([(Stage::LanguageModel, lm), (Stage::Vocoder, vocoder)]);
        let on_gpus = stages.filter(|(_, device)| !device.is_cpu()).map(|(stage, _)| stage).collect();
        let prompt_cores = self.prompt.clone().map(PromptCores::of).unwrap_or_default();
        EngineContext { turns: self.turns(), prompt_cores, on_gpus, ..EngineContext::default() }
    }

    /// Turns of the stages that compute on the same cores of a processor.
    fn turns(&self) -> CoreTurns {
        let Devices { lm, vocoder, .. } = self.devices;
        let flow = self.flow.iter().zip(&self.flow_devices).map(|(site, device)| (Stage::FlowWorker, site, *device));
        let others = [(Stage::LanguageModel, &self.lm, lm), (Stage::Vocoder, &self.vocoder, vocoder)];
        let stages: Vec<_> = flow.chain(others).filter(|(.., device)| device.is_cpu()).collect();
        let shared = stages.iter().enumerate().flat_map(|(index, (first, one, _))| {
            let with = stages[index + 1..].iter().filter(|(_, other, _)| one.shares_cores_with(other));
            with.map(|(second, ..)| (*first, *second)).collect::<Vec<_>>()
        });
        CoreTurns::of(shared)
    }
}

/// The share of one worker: neighbouring cores, at least one.
fn share(whole: &ComputeSite, worker: usize, workers: usize, threads: Option<usize>) -> ComputeSite {
    if whole.cores.is_empty() {
        return ComputeSite { threads: threads.unwrap_or((whole.threads / workers).max(1)), cores: Vec::new() };
    }
    let count = whole.cores.len();
    let mut cores = whole.cores[worker * count / workers..(worker + 1) * count / workers].to_vec();
    if count < workers {
        cores = vec![whole.cores[worker % count]];
    }
    ComputeSite { threads: threads.unwrap_or(cores.len()), cores }
}

fn refuse<T>(option: &'static str, expected: String, found: String) -> Result<T, EngineError> {
    Err(EngineError::Option { option, expected, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(placement: &Placement, machine: &[usize]) -> Plan {
        Plan::for_machine(placement, machine, &CoreLayout::even(machine)).expect("a plan")
    }

    #[test]
    fn a_small_machine_is_shared_by_all_stages() {
        let plan = plan(&Placement { flow_workers: 1, ..Placement::default() }, &[0, 1]);
        for site in [&plan.lm, &plan.flow[0], &plan.vocoder] {
            assert_eq!(*site, ComputeSite { threads: 2, cores: Vec::new() });
        }
        assert_eq!(plan.prompt, None, "the language model has all cores");
    }

    #[test]
    fn stages_take_turns_on_the_cores_that_they_share_and_on_no_others() {
        let gives_way = |plan: &Plan, stage, to| plan.turns().orders(stage, to);
        let (lm, flow, vocoder) = (Stage::LanguageModel, Stage::FlowWorker, Stage::Vocoder);
        let placement = Placement { flow_workers: 2, ..Placement::default() };
        let (small, large) = (plan(&placement, &[0, 1]), plan(&placement, &(0..16).collect::<Vec<_>>()));
        assert!(gives_way(&small, lm, flow) && gives_way(&small, lm, vocoder) && gives_way(&small, flow, vocoder));
        assert!(!gives_way(&small, vocoder, flow) && !gives_way(&small, flow, flow));
        assert!(gives_way(&large, flow, vocoder) && !gives_way(&large, lm, flow) && !gives_way(&large, lm, vocoder));
        let gpu = Devices { flow: DeviceName::Cuda(0), vocoder: DeviceName::Cuda(0), ..Devices::default() };
        let apart = plan(&Placement { devices: gpu, ..Placement::default() }, &[0, 1]);
        assert!(!gives_way(&apart, lm, flow) && !gives_way(&apart, flow, vocoder));
        assert_eq!(apart.context().on_gpus[..], [flow, vocoder]);
        assert!(large.context().on_gpus.is_empty());
    }

    #[test]
    fn a_large_machine_is_divided_without_overlap_between_model_and_workers() {
        let machine: Vec<usize> = (0..16).collect();
        let plan = plan(&Placement { flow_workers: 3, ..Placement::default() }, &machine);
        assert_eq!(plan.lm.cores, (0..8).collect::<Vec<_>>());
        assert_eq!(plan.prompt, Some(ComputeSite { threads: 16, cores: machine }));
        let mut flow: Vec<usize> = plan.flow.iter().flat_map(|site| site.cores.clone()).collect();
        flow.sort_unstable();
        assert_eq!(flow, (8..16).collect::<Vec<_>>());
        assert_eq!(plan.vocoder.cores, (8..16).collect::<Vec<_>>());
    }

    #[test]
    fn products_of_one_pass_are_refused_where_a_processor_makes_them() {
        let placement = |flow| Placement {
            devices: Devices { flow, ..Devices::default() },
            flow_precision: FlowPrecision::F16,
            ..Placement::default()
        };
        let plan = |placement: &Placement| Plan::for_machine(placement, &[0], &CoreLayout::even(&[0]));
        assert!(plan(&placement(DeviceName::Cuda(0))).is_ok());
        let also_here = Placement { more_flow_devices: vec![DeviceName::Cpu], ..placement(DeviceName::Cuda(0)) };
        for refused in [&placement(DeviceName::Cpu), &also_here] {
            let error = plan(refused).expect_err("a refusal").to_string();
            assert!(error.contains("flow-precision") && error.contains("f32"), "{error}");
        }
    }

    #[test]
    fn workers_take_turns_on_the_devices_that_are_given() {
        let gpus = [0, 1, 2].map(DeviceName::Cuda);
        let placement = Placement {
            devices: Devices { flow: gpus[0], ..Devices::default() },
            more_flow_devices: gpus[1..].to_vec(),
            flow_workers: 4,
            ..Placement::default()
        };
        assert_eq!(plan(&placement, &[0, 1]).flow_devices, [gpus[0], gpus[1], gpus[2], gpus[0]]);
    }

    #[test]
    fn workers_have_neighbouring_cores_and_no_second_threads() {
        // Eight cores of two threads each, of which the layout names one.
        let (machine, layout) = ((0..16).collect::<Vec<_>>(), CoreLayout::even(&(0..8).collect::<Vec<_>>()));
        let placement = Placement { flow_workers: 2, ..Placement::default() };
        let plan = Plan::for_machine(&placement, &machine, &layout).expect("a plan");
        assert_eq!(plan.lm, ComputeSite { threads: 4, cores: vec![0, 1, 2, 3] });
        let flow: Vec<_> = plan.flow.iter().map(|site| site.cores.clone()).collect();
        assert_eq!(flow, [[4, 5], [6, 7]]);
    }

    #[test]
    fn drafts_are_prepared_where_cores_or_a_device_are_given_for_it_and_nowhere_else() {
        let given = |draft_cores, draft_device| {
            let placement = Placement { draft_cores, draft_device, flow_workers: 1, ..Placement::default() };
            plan(&placement, &[0, 1]).draft
        };
        assert_eq!(given(None, None), None);
        let cpu = DeviceName::Cpu;
        assert_eq!(given(Some(vec![1]), None), Some(DraftSite { cores: vec![1], device: cpu }));
        assert_eq!(given(None, Some(cpu)), Some(DraftSite { cores: Vec::new(), device: cpu }));
        let gpu = DeviceName::Cuda(1);
        assert_eq!(given(Some(vec![0]), Some(gpu)), Some(DraftSite { cores: vec![0], device: gpu }));
    }

    #[test]
    fn more_workers_than_cores_share_them() {
        let placement = Placement { flow_cores: Some(vec![1]), flow_workers: 3, ..Placement::default() };
        assert!(plan(&placement, &[0, 1]).flow.iter().all(|site| site.cores == [1] && site.threads == 1));
    }

    #[test]
    fn cores_that_are_not_there_and_counts_out_of_range_are_refused_by_name() {
        let layout = CoreLayout::even(&[0, 1]);
        let error = |placement: Placement| {
            Plan::for_machine(&placement, &[0, 1], &layout).expect_err("out of range").to_string()
        };
        assert!(
            error(Placement { lm_cores: Some(vec![9]), flow_workers: 1, ..Placement::default() })
                .starts_with("lm-cores must be")
        );
        assert!(error(Placement { flow_workers: 0, ..Placement::default() }).starts_with("flow-workers must be"));
        assert!(
            error(Placement { threads: Some(0), flow_workers: 1, ..Placement::default() })
                .starts_with("threads must be")
        );
        assert_eq!(
            error(Placement { threads: Some(17), flow_workers: 1, ..Placement::default() }),
            "threads must be from 1 to 16, 8 for each of 2 cores, but is 17"
        );
        plan(&Placement { threads: Some(16), flow_workers: 1, ..Placement::default() }, &[0, 1]);
    }
}
