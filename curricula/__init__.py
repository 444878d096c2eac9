"""Courses and teachers: what a lifetime goes through, and who decides. Import them as ``daytwo.curricula``."""

if __name__ != "daytwo.curricula":
    raise ImportError(
        f"The folder curricula/ is the package daytwo.curricula, but was imported as {__name__!r}: "
        "write 'import daytwo.curricula'. A second copy of its classes would equal none of the first."
    )

from daytwo.course import register_course
from daytwo.teacher import register_teacher

register_course("progressive", "daytwo.curricula.courses:progressive")
register_course("single", "daytwo.curricula.courses:single")
register_course("shuffled", "daytwo.curricula.courses:shuffled")
register_course("reversed", "daytwo.curricula.courses:reversed_")
register_course("isolated", "daytwo.curricula.courses:isolated")
register_course("review", "daytwo.curricula.courses:review")
register_course("switch", "daytwo.curricula.courses:switch")
register_course("interleaved", "daytwo.curricula.courses:interleaved")
register_course("spaced", "daytwo.curricula.courses:spaced")

register_teacher("uniform", "daytwo.curricula.uniform:Uniform")
register_teacher("schedule", "daytwo.curricula.schedule:Schedule")
register_teacher("mastery-gate", "daytwo.curricula.mastery_gate:MasteryGate")
register_teacher("learning-progress", "daytwo.curricula.learning_progress:LearningProgress")
register_teacher("learnability", "daytwo.curricula.learnability:Learnability")
register_teacher("plr", "daytwo.curricula.plr:PLR")
register_teacher("alp-gmm", "daytwo.curricula.alp_gmm:ALPGMM")
register_teacher("self-paced", "daytwo.curricula.self_paced:SelfPaced")
