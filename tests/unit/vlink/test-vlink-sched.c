/*
 * libvlink: polls with a budget
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "harness.h"

typedef struct Job {
    Poll poll;
    unsigned left;              /* units of work */
    unsigned calls;
    unsigned budget;            /* of the last call */
    bool cancels;               /* itself, in its turn */
    struct Job *also;           /* schedules this one in its turn */
} Job;

/* The jobs in the order of their turns. */
static GPtrArray *turns;

static unsigned job_poll(Poll *poll, unsigned budget)
{
    Job *job = poll_owner(poll, Job, poll);
    unsigned done = MIN(job->left, budget);

    g_ptr_array_add(turns, job);
    job->calls++;
    job->budget = budget;
    job->left -= done;
    if (job->also) {
        poll_schedule(&job->also->poll);
    }
    if (job->cancels) {
        poll_cancel(poll);
    }
    return done;
}

static void job_init(Job *job, Poller *poller, unsigned units)
{
    *job = (Job) { .left = units };
    poll_init(&job->poll, poller, job_poll);
}

static Poller *begin(void)
{
    turns = g_ptr_array_new();
    return poller_new(&test_platform);
}

static void end(Poller *poller)
{
    poller_free(poller);
    g_ptr_array_unref(turns);
    g_assert_cmpuint(clock_works(), ==, 0);
}

static void test_once(void)
{
    Poller *poller = begin();
    Job job;

    job_init(&job, poller, 5);
    poll_schedule(&job.poll);
    poll_schedule(&job.poll);
    g_assert_cmpuint(job.calls, ==, 0);
    clock_run_pending();
    g_assert_cmpuint(job.calls, ==, 1);
    g_assert_cmpuint(job.left, ==, 0);
    poll_schedule(&job.poll);
    clock_run_pending();
    g_assert_cmpuint(job.calls, ==, 2);
    end(poller);
}

static void test_weight(void)
{
    Poller *poller = begin();
    Job job;

    job_init(&job, poller, 1000);
    poll_schedule(&job.poll);
    g_assert_true(clock_run_one());
    g_assert_cmpuint(job.left, ==, 1000 - POLL_WEIGHT);
    g_assert_true(clock_run_one());
    g_assert_cmpuint(job.left, ==, 1000 - 2 * POLL_WEIGHT);
    clock_run_pending();
    g_assert_cmpuint(job.left, ==, 0);
    g_assert_cmpuint(job.calls, ==, 16);
    end(poller);
}

/* Its own weight, where it has one. */
static void test_own_weight(void)
{
    Poller *poller = begin();
    Job job;

    job_init(&job, poller, 1000);
    job.poll.weight = 200;
    poll_schedule(&job.poll);
    for (unsigned left = 1000; left; left -= 200) {
        g_assert_cmpuint(job.left, ==, left);
        g_assert_true(clock_run_one());
    }
    clock_run_pending();
    g_assert_cmpuint(job.left, ==, 0);
    end(poller);
}

static void test_cost(void)
{
    g_assert_cmpuint(poll_cost(0), ==, 1);
    g_assert_cmpuint(poll_cost(1514), ==, 1);
    g_assert_cmpuint(poll_cost(65549), ==, 17);
}

/* 300 a round: four and a part, and the last one is not forgotten. */
static void test_budget(void)
{
    Poller *poller = begin();
    unsigned done = 0;
    Job job[7];

    for (int i = 0; i < 7; i++) {
        job_init(&job[i], poller, 200);
        poll_schedule(&job[i].poll);
    }
    g_assert_true(clock_run_one());
    for (int i = 0; i < 7; i++) {
        done += 200 - job[i].left;
    }
    g_assert_cmpuint(done, ==, POLL_BUDGET);
    g_assert_cmpuint(job[4].budget, ==, POLL_BUDGET - 4 * POLL_WEIGHT);
    g_assert_cmpuint(job[5].calls, ==, 0);
    g_assert_true(clock_run_one());
    g_assert_cmpuint(job[5].calls, ==, 1);
    g_assert_true(turns->pdata[5] == &job[5]);
    clock_run_pending();
    for (int i = 0; i < 7; i++) {
        g_assert_cmpuint(job[i].left, ==, 0);
    }
    end(poller);
}

/* A turn of each, then the next turn of each. */
static void test_round_robin(void)
{
    Poller *poller = begin();
    Job job[3];

    for (int i = 0; i < 3; i++) {
        job_init(&job[i], poller, 150);
        poll_schedule(&job[i].poll);
    }
    clock_run_pending();
    g_assert_cmpuint(turns->len, ==, 9);
    for (unsigned i = 0; i < turns->len; i++) {
        g_assert_true(turns->pdata[i] == &job[i % 3]);
    }
    end(poller);
}

static void test_cancel(void)
{
    Poller *poller = begin();
    Job a, b;

    job_init(&a, poller, 5);
    job_init(&b, poller, 5);
    poll_schedule(&a.poll);
    poll_schedule(&b.poll);
    poll_cancel(&a.poll);
    poll_cancel(&a.poll);
    clock_run_pending();
    g_assert_cmpuint(a.calls, ==, 0);
    g_assert_cmpuint(b.calls, ==, 1);
    poll_schedule(&a.poll);
    clock_run_pending();
    g_assert_cmpuint(a.calls, ==, 1);
    end(poller);
}

/* It has more to do, but not after its cancellation. */
static void test_cancel_running(void)
{
    Poller *poller = begin();
    Job job;

    job_init(&job, poller, 1000);
    job.cancels = true;
    poll_schedule(&job.poll);
    clock_run_pending();
    g_assert_cmpuint(job.calls, ==, 1);
    g_assert_cmpuint(job.left, ==, 1000 - POLL_WEIGHT);
    end(poller);
}

static void test_schedule_other(void)
{
    Poller *poller = begin();
    Job a, b;

    job_init(&a, poller, 1);
    job_init(&b, poller, 1);
    a.also = &b;
    poll_schedule(&a.poll);
    clock_run_pending();
    g_assert_cmpuint(b.calls, ==, 1);
    g_assert_cmpuint(b.left, ==, 0);
    end(poller);
}

/* A poll that schedules itself for ever does not hold the loop. */
static void test_schedule_self(void)
{
    Poller *poller = begin();
    Job job;

    job_init(&job, poller, 0);
    job.also = &job;
    poll_schedule(&job.poll);
    for (unsigned i = 1; i < 10; i++) {
        g_assert_true(clock_run_one());
        g_assert_cmpuint(job.calls, ==, i);
    }
    poll_cancel(&job.poll);
    clock_run_pending();
    end(poller);
}

/* Everything of one round happens at one time, and none is left over. */
static void test_clock(void)
{
    Poller *poller = begin();
    int64_t start = clock_now();
    Job job;

    job_init(&job, poller, 1000);
    poll_schedule(&job.poll);
    clock_run_pending();
    g_assert_cmpint(clock_now(), ==, start);
    g_assert_false(clock_run_one());
    end(poller);
}

int main(int argc, char **argv)
{
    test_init(&argc, &argv);
    g_test_add_func("/sched/once", test_once);
    g_test_add_func("/sched/weight", test_weight);
    g_test_add_func("/sched/own-weight", test_own_weight);
    g_test_add_func("/sched/cost", test_cost);
    g_test_add_func("/sched/budget", test_budget);
    g_test_add_func("/sched/round-robin", test_round_robin);
    g_test_add_func("/sched/cancel", test_cancel);
    g_test_add_func("/sched/cancel-running", test_cancel_running);
    g_test_add_func("/sched/schedule-other", test_schedule_other);
    g_test_add_func("/sched/schedule-self", test_schedule_self);
    g_test_add_func("/sched/clock", test_clock);
    return g_test_run();
}
