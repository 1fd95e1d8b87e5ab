//! Lockstep of an engine's songs: the kameo actor that writes the next frame of all of them in one pass over the weights.
//!
//! - `handle`: how songs join, leave and learn of their end
//! - `member`: one song
//!
//! Songs join and leave between two passes. A song takes part in a pass when it is not paused, when its takers have
//! taken its last frame (backpressure of bounded channels), and when none of its later stages is at work on the same
//! cores; else it sits out, and holds up no other. While one song reads its prompt, the others write a frame between two
//! layers. A failure or a panic in a song's own work is that song's; after one in the pass itself each song is tried
//! alone, so that it is again the one that fails.

mod handle;
mod member;

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    thread::sleep,
    time::{Duration, Instant},
};

use flume::{Receiver, bounded};
use heartstream_messages::Stage;
use heartstream_models::{
    heartmula::HeartMula,
    speculation::{Frame, PassPolicy, SpeculatedSong, takes_turns, write_side_by_side},
};
use kameo::{
    actor::{Actor, ActorRef, WeakActorRef},
    mailbox::{MailboxReceiver, Signal},
};

use crate::{compute_site::ComputePool, core_turns::CoreTurns, song_context::EngineContext};
use handle::{Command, JOINING};
pub use handle::{Joining, LockstepHandle, WeakLockstep, WritingEnd};
use member::{Ended, LockstepSong, Work, caught};

/// Poll interval while no song can go on and nothing tells when one can.
const REST: Duration = Duration::from_millis(10);
/// The same while other songs wait for their takers, which tell, but not on this thread.
const BRIEF_REST: Duration = Duration::from_millis(1);

/// The songs of an engine that are being written.
pub struct Lockstep {
    model: Arc<HeartMula>,
    engine: EngineContext,
    commands: Receiver<Command>,
    /// Songs whose prompt is not read yet.
    joining: VecDeque<LockstepSong>,
    members: Vec<LockstepSong>,
    policy: PassPolicy,
    pool: ComputePool,
}

/// Arguments of the actor.
pub struct LockstepArgs {
    /// The weights.
    pub model: Arc<HeartMula>,
    /// State that its songs share.
    pub engine: EngineContext,
    /// The threads it computes on.
    pub pool: ComputePool,
    /// What its songs tell it.
    pub inbox: LockstepInbox,
}

/// What the songs of a lockstep tell it.
pub struct LockstepInbox(Receiver<Command>);

/// The ends of a new lockstep: a song's hold on `actor`, which is over when `ended` is closed, and the actor's inbox.
pub fn lockstep(actor: ActorRef<Lockstep>, ended: Receiver<Infallible>) -> (LockstepHandle, LockstepInbox) {
    let (commands, inbox) = bounded(JOINING);
    (LockstepHandle::new(actor, commands, ended), LockstepInbox(inbox))
}

impl Actor for Lockstep {
    type Args = LockstepArgs;
    type Error = Infallible;

    fn name() -> &'static str {
        "lockstep"
    }

    async fn on_start(args: LockstepArgs, _: ActorRef<Self>) -> Result<Self, Infallible> {
        let LockstepArgs { model, engine, pool, inbox: LockstepInbox(commands) } = args;
        let (joining, members, policy) = (VecDeque::new(), Vec::new(), PassPolicy::default());
        Ok(Self { model, engine, commands, joining, members, policy, pool })
    }

    async fn next(
        &mut self,
        _: WeakActorRef<Self>,
        mailbox: &mut MailboxReceiver<Self>,
    ) -> Result<Option<Signal<Self>>, Infallible> {
        loop {
            if let Ok(signal) = mailbox.try_recv() {
                return Ok(Some(signal));
            }
            let written = self.turn();
            if !written && self.songs() == 0 {
                let command = tokio::select! {
                    biased;
                    signal = mailbox.recv() => return Ok(signal),
                    command = self.commands.recv_async() => command,
                };
                match command {
                    Ok(command) => self.receive(command),
                    Err(_) => return Ok(None), // no song holds it any more
                }
            } else if !written {
                let since = Instant::now();
                if let Some(signal) = self.wait(mailbox).await {
                    return Ok(Some(signal));
                }
                self.members.iter().for_each(|member| member.waited(since.elapsed()));
            }
            tokio::task::yield_now().await; // a point at which the actor can be killed
        }
    }
}

impl Lockstep {
    fn songs(&self) -> usize {
        self.joining.len() + self.members.len()
    }

    fn receive(&mut self, command: Command) {
        if let Command::Join(joining) = command {
            self.joining.push_back(LockstepSong::new(*joining));
        }
    }

    /// Lets in a song, or writes the next frame of those that can go on; says whether there was something to do.
    fn turn(&mut self) -> bool {
        self.look();
        if let Some(member) = self.joining.pop_front() {
            self.let_in(member);
            return true;
        }
        self.pass_on_pool()
    }

    /// Receives the commands of songs, and drops those songs that are over.
    fn look(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.receive(command);
        }
        let mut context = Context::from_waker(Waker::noop());
        for member in &mut self.members {
            let _ = member.poll_taken(&mut context); // else it sits out
        }
        let over = self.members.extract_if(.., |member| member.is_over());
        over.for_each(|member| member.finish(WritingEnd::Over));
        let (left, joining) = self.joining.drain(..).partition::<Vec<_>, _>(|member| member.song.stop.is_set());
        self.joining.extend(joining);
        left.into_iter().for_each(|member| member.finish(WritingEnd::Over));
    }

    /// Reads the prompt of a song, while the others go on.
    fn let_in(&mut self, mut member: LockstepSong) {
        let (model, pool) = (Arc::clone(&self.model), self.pool.clone());
        let turns = member.song.engine.turns.clone();
        let begun = self.awake(&pool, vec![turns], |lockstep| {
            let alone = lockstep.members.is_empty();
            let others = Mutex::new(lockstep);
            let between = || {
                let mut others = others.lock().unwrap_or_else(PoisonError::into_inner); // no other thread has it
                others.look();
                others.pass();
            };
            member.begin(&model, !alone, &between)
        });
        match begun {
            Ok(()) => self.members.push(member),
            Err(ended) => member.finish(ended.into()),
        }
    }

    /// Writes the next frame of those that can go on, on the threads of the lockstep.
    fn pass_on_pool(&mut self) -> bool {
        if !self.members.iter().any(LockstepSong::is_ready) {
            return false;
        }
        let pool = self.pool.clone();
        let ready = self.members.iter().filter(|member| member.is_ready());
        let turns = ready.map(|member| member.song.engine.turns.clone()).collect();
        self.awake(&pool, turns, Self::pass);
        true
    }

    /// Does `work` on the threads, which do not sleep meanwhile unless a later stage of the songs of `turns` is at work
    /// on their cores.
    fn awake<R: Send>(
        &mut self,
        pool: &ComputePool,
        turns: Vec<CoreTurns>,
        work: impl FnOnce(&mut Self) -> R + Send,
    ) -> R {
        let yields = move || turns.iter().any(|turns| turns.is_behind(Stage::LanguageModel));
        let on_gpu = self.engine.on_gpus.contains(&Stage::LanguageModel);
        let awake = (!on_gpu).then_some(&yields as &(dyn Fn() -> bool + Sync));
        pool.run_awake(awake, || work(self))
    }

    /// Writes the next frame of those that can go on.
    fn pass(&mut self) {
        let ready: Vec<LockstepSong> = self.members.extract_if(.., |member| member.is_ready()).collect();
        if ready.is_empty() {
            return;
        }
        let since = Instant::now();
        let songs: Vec<_> = ready.iter().map(|member| member.song.clone()).collect();
        let _at_work: Vec<_> = songs.iter().map(|song| song.meter.working.begin()).collect();
        let (mut done, mut in_pass) = (Vec::new(), Vec::new());
        for mut member in ready {
            let wrote = member.strike().and_then(|()| member.write_alone(&self.model));
            match wrote {
                Ok(wrote) if wrote || member.in_pass().is_none() => done.push(member),
                Ok(_) => in_pass.push(member),
                Err(ended) => member.finish(ended.into()),
            }
        }
        let written = write(&self.model, &mut in_pass, &mut self.policy);
        for (mut member, written) in in_pass.into_iter().zip(written) {
            match written.and_then(|frames| member.wrote(&self.model, frames)) {
                Ok(()) => done.push(member),
                Err(ended) => member.finish(ended.into()),
            }
        }
        done.iter().for_each(|member| member.worked(since.elapsed()));
        self.members.append(&mut done);
    }

    /// Waits until a song may be able to go on; `Some` when the mailbox has a signal.
    async fn wait(&mut self, mailbox: &mut MailboxReceiver<Self>) -> Option<Signal<Self>> {
        // What waits for a later stage of its own is told by that stage, what is paused by nothing, and all others wait
        // for their takers, or can go on by now.
        let sits_out = |member: &&LockstepSong| !member.waits_for_takers();
        let rest = if self.members.iter().all(|member| sits_out(&member)) { REST } else { BRIEF_REST };
        if let Some(member) = self.members.iter().filter(sits_out).find(|member| member.gives_way()) {
            let song = member.song.clone();
            song.engine.turns.give_way_within(Stage::LanguageModel, &song.stop, rest);
            return None;
        }
        if let Some(member) = self.members.iter().find(sits_out) {
            if member.is_paused() {
                sleep(rest); // the thread is the actor's own
            }
            return None;
        }
        let Self { commands, members, .. } = self;
        let command = tokio::select! {
            biased;
            signal = mailbox.recv() => return signal,
            command = commands.recv_async() => command.ok(),
            () = any_taken(members) => None,
        };
        if let Some(command) = command {
            self.receive(command);
        }
        None
    }
}

/// Ends when the takers of a song have taken its frames.
async fn any_taken(members: &mut [LockstepSong]) {
    poll_fn(|context| {
        let waiting = members.iter_mut().filter(|member| member.waits_for_takers());
        let taken = waiting.fold(false, |taken, member| taken | member.poll_taken(context).is_ready());
        if taken { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The next frames of the songs, in one pass, or one by one where that is faster. Where a pass panics or cannot be computed,
/// each is tried alone: the songs are then as they were before.
fn write(model: &HeartMula, members: &mut [LockstepSong], policy: &mut PassPolicy) -> Vec<Work<Vec<Frame>>> {
    let mut songs: Vec<SpeculatedSong<'_>> = members.iter_mut().filter_map(LockstepSong::in_pass).collect();
    if songs.is_empty() {
        return Vec::new();
    }
    let one_by_one = |songs: &mut [SpeculatedSong<'_>]| {
        songs.iter_mut().map(|(speculator, state)| caught(|| Ok(speculator.next_frames(model, state)?))).collect()
    };
    if takes_turns(&songs, policy) {
        return one_by_one(&mut songs);
    }
    let own = |written: heartstream_models::Result<Frame>| match written {
        Ok(frame) => Ok(vec![frame]),
        Err(error) => Err(Ended::Failed(error.into())),
    };
    match caught(|| Ok(write_side_by_side(model, &mut songs, policy)?)) {
        Ok(written) => written.into_iter().map(own).collect(),
        Err(_) => {
            tracing::warn!(songs = songs.len(), "a pass failed, and each of its songs is tried alone");
            one_by_one(&mut songs)
        }
    }
}
