"""What the law says of recognising emotions, for model cards."""

EU_AI_ACT = """\
In the European Union, Regulation (EU) 2024/1689 (the AI Act) prohibits systems that infer the
emotions of people at work and in education, but for medical or safety reasons (Article 5(1)(f),
since 2 February 2025). Elsewhere, whoever uses one has to inform the people who are exposed to it
(Article 50(3), since 2 August 2026), and emotion recognition is listed as high-risk (Annex III,
point 1(c)). Other laws apply besides, the GDPR first. This is no legal advice."""
