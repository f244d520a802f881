"""The verdict: validity, objectives, indicators and checks. Pure and offline: any stored run can be judged again."""
