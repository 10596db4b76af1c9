//! From a commit to an image in the registry: read, plan, build, push, each step told and timed.

use model::release::Build;
use proto::problem::{Code, Problem};

use super::{Builds, Granted, internal};
use crate::{
    control::Push,
    image::{Facts, Order, Tagged},
    output::Output,
    recipe::{self, Base, Plan},
    source::{Source, SourceError},
};

impl Builds {
    /// Waits for a place in line, then builds within the time a build has.
    pub(super) async fn build(
        &self,
        granted: Granted,
        push: &Push,
        output: &Output,
    ) -> Result<Build, Problem> {
        let _slot = self.slots.take(output).await;
        let limit = self.limits.build_time;
        match tokio::time::timeout(limit, self.build_now(granted, push, output)).await {
            Ok(built) => built,
            Err(_) => {
                let message = format!("the build took longer than {}", service::Span(limit));
                Err(Problem::new(Code::TimedOut, message)
                    .hint("Make it shorter, or ask your operator for more time"))
            }
        }
    }

    async fn build_now(
        &self,
        granted: Granted,
        push: &Push,
        output: &Output,
    ) -> Result<Build, Problem> {
        let start = self.clock.monotonic();
        let place = granted.place.clone();
        let opened = tokio::task::spawn_blocking(move || Source::open(place)).await;
        let source = opened.map_err(internal)?.map_err(|error| match error {
            SourceError::Refused(problem) => problem,
            git @ SourceError::Git(_) => internal(git),
        })?;
        let base = Base { stack: &self.stack, app: push.app.as_str() };
        let plan = recipe::plan(&source.files, base)?;
        tell_plan(&plan, output).await;
        let planned = self.clock.monotonic();
        let order = Order { push, source: &source, plan: &plan, config: &granted.config };
        let image = self.parts.images.build(&order, output).await?;
        let built = self.clock.monotonic();
        let (digest, facts) = self.publish(image, &plan).await?;
        let pushed = self.clock.monotonic();
        tell_processes(&plan, output).await;
        tracing::info!(
            app = %push.app, build = push.build_id, kind = plan.kind, files = source.count(&plan.ignore),
            plan_ms = (planned - start).as_millis(), build_ms = (built - planned).as_millis(),
            push_ms = (pushed - built).as_millis(), "built"
        );
        Ok(Build {
            image: digest,
            commit: Some(push.commit.clone()),
            processes: plan.processes,
            exposed_port: facts.exposed_port,
        })
    }

    /// Pushes an image and looks at it meanwhile.
    async fn publish(&self, image: Tagged, plan: &Plan) -> Result<(String, Facts), Problem> {
        let images = self.parts.images.clone();
        let published = tokio::try_join!(images.push(&image), images.facts(&image));
        let published = published.and_then(|(digest, facts)| {
            facts.require_command(plan)?;
            Ok((digest, facts))
        });
        let is_kept = published.is_ok();
        self.parts.tasks.spawn("tag an image", async move {
            match is_kept {
                true => images.settle_tag(image).await,
                false => images.discard(image).await,
            }
        });
        published
    }
}

async fn tell_plan(plan: &Plan, output: &Output) {
    match plan.kind {
        "Dockerfile" => output.step("Dockerfile found").await,
        "Procfile" => output.step("Procfile found: the app runs on the stack image as it is").await,
        kind => output.step(&format!("{kind} app detected")).await,
    }
    for note in &plan.notes {
        output.note(note).await;
    }
}

async fn tell_processes(plan: &Plan, output: &Output) {
    let types: Vec<&str> = plan.processes.keys().map(|process| process.as_str()).collect();
    output.step("Discovering process types").await;
    output.detail(&format!("{} -> {}", plan.processes_from, types.join(", "))).await;
}
